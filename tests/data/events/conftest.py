"""A small shop: a table, its schema, and rows."""

from __future__ import annotations

import pytest

from mlx_tiny.data.events.histories import History, HistoryReader, Row
from mlx_tiny.data.events.schema import Column, Schema

SHOP = Schema(
    columns=(
        Column("article", "item"),
        Column("title", "words"),
        Column("count", "number", (2.0, 6.0)),
        Column("day", "time"),
    ),
    history=("customer",),
    order="day",
)


@pytest.fixture
def shop() -> Schema:
    return SHOP


def shop_row(customer: str, article: str, day: str, count: str = "1", title: str = "RED BAG") -> dict[str, str]:
    return {"customer": customer, "article": article, "title": title, "count": count, "day": day}


def histories_of(rows: list[dict[str, str]], schema: Schema = SHOP) -> list[History]:
    """The histories of rows that are on the lines from 2 on."""
    reader = HistoryReader(schema)
    numbered: list[Row] = list(enumerate(rows, 2))
    reader.read(numbered, "shop.csv")
    return reader.histories()
