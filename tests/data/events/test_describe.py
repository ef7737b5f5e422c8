from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_tiny.data.events.describe import describe
from mlx_tiny.data.events.histories import HistoryReader, Row, event_text, rows_of
from mlx_tiny.data.events.schema import Column, Schema, parse_schema
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.errors import TinyError


def purchases(time: str = "2010-12-{day:02} 0{hour}:00:00", rows: int = 300) -> list[Row]:
    """Rows of invoices, each of a customer."""
    chance = random.Random(0)
    found: list[Row] = []
    for number in range(rows):
        invoice, article = number // 5, chance.randrange(20)
        found.append(
            (
                number + 2,
                {
                    "InvoiceNo": str(5000 + invoice),
                    "StockCode": f"A{article}",
                    "Description": f"SMALL BOX {article // 2}",
                    "Quantity": str(chance.choice([1, 1, 1, 2, 3, 6, 12, 24])),
                    "InvoiceDate": time.format(day=1 + invoice % 28, hour=invoice % 9),
                    "Price": str(article + 0.5),
                    "CustomerID": str(100 + invoice % 23),
                    "Country": "UK" if invoice % 23 < 20 else "FR",
                    "Shop": "web",
                    "Note": f"note {number}",
                },
            )
        )
    return found


def test_a_table_of_purchases_is_understood() -> None:
    proposal = describe(purchases(), "shop.csv")
    kinds = {column.name: column.kind for column in proposal.schema.columns}
    assert proposal.schema.history == ("CustomerID",)
    assert (proposal.schema.order, proposal.schema.order_as, proposal.schema.split) == ("InvoiceDate", "iso", "history")
    assert proposal.schema.columns[0] == Column("StockCode", "item")
    assert kinds == {
        "StockCode": "item",
        "Description": "words",
        "Quantity": "number",
        "InvoiceDate": "time",
        "Note": "words",
    }
    assert set(proposal.ignored) == {"InvoiceNo", "Price", "Country", "Shop"}
    assert parse_schema(proposal.text, "the proposal") == proposal.schema
    reader = HistoryReader(proposal.schema)
    reader.read(purchases(), "shop.csv")
    assert (len(reader.histories()), reader.skipped) == (23, {})
    texts = [history.text for history in reader.histories()]
    tokenizer = ItemsTokenizer.train(texts * 2, 2048, schema=proposal.schema)
    assert sum(len(tokenizer.encode(text)) + 1 for text in texts) == pytest.approx(proposal.tokens, rel=0.1)


@pytest.mark.parametrize(
    ("time", "order_as"),
    [
        ("{day}/12/2010 {hour}:00", "%d/%m/%Y %H:%M"),
        ("12/{day}/2010", "%m/%d/%Y"),
        ("12{day:02}00{hour}000", "seconds"),
        ("12{day:02}00{hour}000000", "milliseconds"),
    ],
)
def test_times_are_found_in_other_forms(time: str, order_as: str) -> None:
    assert describe(purchases(time), "shop.csv").schema.order_as == order_as


def test_a_date_that_can_be_read_in_two_ways_is_said() -> None:
    proposal = describe(purchases("3/{day}/2010", rows=40), "shop.csv")
    assert proposal.schema.order_as == "%d/%m/%Y" and "%m/%d/%Y" in proposal.comments["order_as"]


def two_columns(pairs: Iterable[tuple[object, object]], names: tuple[str, str] = ("a", "b")) -> list[Row]:
    return [(number, dict(zip(names, pair, strict=True))) for number, pair in enumerate(pairs, 2)]


def test_rows_that_stand_together_are_a_history_without_a_usual_name() -> None:
    rows = two_columns((group, (group * step) % 7) for group in range(9) for step in range(8))
    assert describe(rows, "x.csv").schema == Schema((Column("b", "item"),), ("a",))


def test_a_log_without_groups_is_one_history_that_is_split_by_time() -> None:
    rows = two_columns(
        ((f"2020-01-01 00:{n % 60:02}:0{n // 60}", f"E{n * n % 7}") for n in range(120)), ("when", "event")
    )
    schema = describe(rows, "log.csv").schema
    assert schema == Schema((Column("event", "item"), Column("when", "time")), (), "when", "iso", "time")


def test_a_table_of_very_many_columns_is_refused_at_once() -> None:
    with pytest.raises(TinyError, match=r"x\.csv has too many columns.*at most 1,000"):
        describe([(1, {f"column {number}": "a" for number in range(1001)})], "x.csv")


@pytest.mark.parametrize(
    "rows", [[], two_columns((n, n * n) for n in range(50)), two_columns((f"text {n}", n / 7) for n in range(50))]
)
def test_a_table_without_items_is_refused(rows: list[Row]) -> None:
    with pytest.raises(TinyError, match=r"x\.csv"):
        describe(rows, "x.csv")


def test_missing_cells_do_not_disturb() -> None:
    rows = purchases()
    for _, row in rows[::7]:
        row["Quantity"] = ""  # type: ignore[index]
        del row["Price"]  # type: ignore[attr-defined]
    assert "Quantity" in {column.name for column in describe(rows, "shop.csv").schema.columns}


def test_a_column_of_numbers_with_an_error_is_left_out_and_the_error_shown() -> None:
    rows = purchases()
    rows[7][1]["Quantity"] = "many"  # type: ignore[index]
    rows[8][1]["InvoiceDate"] = "soon"  # type: ignore[index]
    proposal = describe(rows, "shop.csv")
    assert "'many'" in proposal.ignored["Quantity"] and "'soon'" in proposal.ignored["InvoiceDate"]
    assert not proposal.schema.order


value = st.one_of(
    st.sampled_from(["", "3", "3.5", "-1", "2020-01-02", "2020-01-02 03:04", "1/2/2020", "x y z", "nan"]),
    st.integers(0, 3).map(str),
    st.text(max_size=3),
)
names = st.lists(st.sampled_from(["when", "price", "note", "", "a b", "#", "n: o"]), max_size=3, unique=True)
usual = {"customer": st.sampled_from(["C1", "C2", ""]), "item": st.sampled_from(["A1", "A2", "A3", ""])}


def tables(columns: list[str]) -> st.SearchStrategy[list[dict[str, str]]]:
    kinds = st.tuples(*(st.sampled_from([value, st.dates().map(str), st.integers().map(str)]) for _ in columns))
    return kinds.flatmap(
        lambda chosen: st.lists(
            st.fixed_dictionaries({**usual, **dict(zip(columns, chosen, strict=True))}), min_size=8, max_size=25
        )
    )


@given(names.flatmap(tables))
@settings(max_examples=60)
def test_what_is_proposed_can_be_read_and_nothing_is_lost(rows: list[dict[str, str]]) -> None:
    try:
        proposal = describe(enumerate(rows, 2), "x.csv")
    except TinyError:
        return
    assert parse_schema(proposal.text, "it") == proposal.schema
    reader = HistoryReader(proposal.schema)
    reader.read(enumerate(rows, 2), "x.csv")
    histories = reader.histories()
    assert sum(len(history.events) for history in histories) + reader.skipped.total() == len(rows)
    for history in histories:
        assert (
            "\n".join(event_text(row, proposal.schema) for row in rows_of(history.text, proposal.schema))
            == history.text
        )
