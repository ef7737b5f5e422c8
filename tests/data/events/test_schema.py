from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_tiny.data.events.schema import KINDS, Column, Schema, format_schema, parse_schema, read_schema
from mlx_tiny.errors import TinyError

TEXT = """
history: customer
order: day   # when
split: time
columns:
  title: words
  count: {number: [2, 6.5]}
  article: item
  day: time
"""


def test_a_schema_is_read_item_first(tmp_path: Path) -> None:
    (tmp_path / "schema.yaml").write_text(TEXT)
    assert read_schema(tmp_path / "schema.yaml") == Schema(
        columns=(
            Column("article", "item"),
            Column("title", "words"),
            Column("count", "number", (2.0, 6.5)),
            Column("day", "time"),
        ),
        history=("customer",),
        order="day",
        split="time",
    )


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
edges = st.sets(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5).map(
    lambda values: tuple(sorted(0.0 + value for value in values))
)


@given(
    columns=st.dictionaries(names, st.one_of(st.sampled_from(["words", "category"]), edges), min_size=1, max_size=5),
    history=st.lists(names, max_size=2),
    order=names,
    comment=st.text(max_size=20),
)
def test_a_written_schema_is_read_back(
    columns: dict[str, object], history: list[str], order: str, comment: str
) -> None:
    first = next(iter(columns))
    made = [Column(n, k) if isinstance(k, str) else Column(n, "number", k) for n, k in columns.items()]  # type: ignore[arg-type]
    made[0] = Column(first, "item")
    schema = Schema(tuple(made), tuple(history), order, "number" if order else "iso")
    notes = {key: comment for key in ("history", "order", "split", f"columns.{first}")}
    assert parse_schema(format_schema(schema, notes, {comment: comment}), "it") == schema


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("order: day", "ordr: day", "Line 3"),
        ("order: day", "history: day", "Line 3"),
        ("order: day", "order: [", "Line"),
        ("split: time", "split: randomly", "split"),
        ("article: item", "article: thing", "Line 8 .*kind"),
        ("article: item", "article: category", "exactly one item"),
        ("title: words", "title: item", "exactly one item"),
        ("title: words", "article: words", "Line 8 .*article"),
        ("title: words", "title: [words]", "Line 6"),
        ("[2, 6.5]", "[6, 2]", "Line 7 .*rising"),
        ("[2, 6.5]", "[]", "Line 7 .*edges"),
        ("[2, 6.5]", "[2, many]", "Line 7 .*many"),
        ("[2, 6.5]", "[2, .inf]", "Line 7"),
        ("[2, 6.5]", "[2, 6_500]", "Line 7 .*6_500"),
        ("{number: [2, 6.5]}", "number", "Line 7 .*edges"),
        ("{number:", "{numbers:", "Line 7 .*numbers"),
        ("order: day", "order: hour", "kind time"),
        ("order: day", "", "time"),
        ("order: day", 'order: ""', "time"),
        ("order: day", "order: day\norder_as: text", "time"),
        ("order: day", "order_as: strange", "order"),
    ],
)
def test_errors_say_where(old: str, new: str, found: str) -> None:
    assert old in TEXT
    with pytest.raises(TinyError, match=f"(?s){found}") as caught:
        parse_schema(TEXT.replace(old, new), "shop.yaml")
    assert "shop.yaml" in str(caught.value)


@pytest.mark.parametrize("text", ["", "# nothing", "- a", "history: a", "columns:", "columns: {a: item}\n\x01"])
def test_what_is_no_schema_is_refused(text: str) -> None:
    with pytest.raises(TinyError, match=r"shop\.yaml"):
        parse_schema(text, "shop.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TinyError, match="absent"):
        read_schema(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"history: \xe9")
    with pytest.raises(TinyError, match="UTF-8"):
        read_schema(tmp_path / "latin.yaml")
    with pytest.raises(TinyError, match="not an ordinary file"):
        read_schema(Path("/dev/zero"))


def test_every_kind_is_explained_in_the_example() -> None:
    from mlx_tiny.data.events import schema

    example = str(schema.__doc__).partition("\n\n")[2]
    assert {column.kind for column in parse_schema(example, "the example").columns} == set(KINDS)
