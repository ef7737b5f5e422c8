from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_tiny.data.events.cells import bin_labels, escape, gap_label, number_label, order_key, unescape, value_text
from mlx_tiny.data.events.histories import History, HistoryReader, cut_time, event_text, rows_of, usual_words
from mlx_tiny.data.events.schema import Column, Schema
from mlx_tiny.errors import TinyError

from .conftest import SHOP, histories_of, shop_row


def test_rows_become_histories_in_the_order_of_time() -> None:
    rows = [
        shop_row("7", "B", "2010-12-03", "6"),
        shop_row("8", "A", "2010-12-01", "0"),
        shop_row("7", "A", "2010-12-01", "2", " TWO\tLINES\n"),
        shop_row("7", "C", "2010-12-03", ""),
    ]
    assert [(history.name, history.text) for history in histories_of(rows)] == [
        ("7", "A\tTWO\\tLINES\t2..<6\tfirst\nB\tRED BAG\t>=6\t<3d\nC\tRED BAG\t\t0"),
        ("8", "A\tRED BAG\t<2\tfirst"),
    ]


def test_without_order_and_history_the_rows_are_one_history() -> None:
    schema = Schema(columns=(Column("article", "item"),))
    rows = [shop_row("7", "B", "2"), shop_row("8", "A", "1")]
    assert [history.text for history in histories_of(rows, schema)] == ["B\nA"]


def test_the_usual_words_of_an_item_are_the_most_frequent_ones() -> None:
    words = [("A", "RED BAG"), ("A", "red bag?"), ("B", ""), ("A", "RED BAG"), ("C\tD", "x\ty"), ("B", "BLUE")]
    rows = [shop_row(str(n), item, "2010-12-01", "2", title) for n, (item, title) in enumerate(words)]
    texts = [history.text for history in histories_of(rows)]
    assert usual_words(texts, SHOP) == {"A": "RED BAG", "B": "BLUE", "C\tD": "x\ty"}
    assert usual_words(["A\nB"], Schema(columns=(Column("article", "item"),))) == {}


@pytest.mark.parametrize(
    ("column", "why"), [("day", "order"), ("customer", "whose"), ("article", "predicted"), ("title", "part")]
)
def test_a_missing_column_says_what_it_is_for(column: str, why: str) -> None:
    number, row = 2, shop_row("7", "B", "2010-12-03", "6")
    with pytest.raises(TinyError, match=why):
        HistoryReader(SHOP).read([(number, {name: value for name, value in row.items() if name != column})], "shop.csv")


cell = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(cell, cell, st.one_of(st.just(""), st.floats(-9, 9).map(str)), st.dates()), min_size=1))
def test_rows_round_trip_at_the_level_of_the_schema(values: list[tuple[str, str, str, datetime.date]]) -> None:
    rows = [shop_row("7", f"a{item}", day.isoformat(), count, title) for item, title, count, day in values]
    (history,) = histories_of(rows)
    back = rows_of(history.text, SHOP)
    rows.sort(key=lambda row: row["day"])
    assert [(row["article"], row["title"]) for row in back] == [
        (row["article"].strip(), row["title"].strip()) for row in rows
    ]
    assert [row["count"] for row in back] == [number_label(row["count"], (2.0, 6.0)) for row in rows]
    assert [event_text(row, SHOP) for row in back] == list(history.events)
    assert history.events[0].endswith("first")


@pytest.mark.parametrize("line", ["", "A\tb\t<2", "A\tb\t<2\t0\tmore", "A\tb\t3\t0", "A\tb\t<2\tlater", "\tb\t<2\t0"])
def test_a_line_that_is_no_event_is_named(line: str) -> None:
    with pytest.raises(TinyError, match="Event 2"):
        rows_of(f"A\tb\t<2\tfirst\n{line}", SHOP)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"count": "many"}, "count.*number.*many"),
        ({"day": "soon"}, "day.*soon"),
        ({"count": "nan"}, "count"),
        ({"count": "1_000"}, "count.*1_000"),
    ],
)
def test_a_value_that_does_not_fit_is_named(change: dict[str, str], found: str) -> None:
    with pytest.raises(TinyError, match=f"Line 3 of shop.csv.*{found}"):
        histories_of([shop_row("7", "A", "2010-12-01"), {**shop_row("7", "A", "2010-12-01"), **change}])


def test_a_column_that_is_missing_is_named() -> None:
    with pytest.raises(TinyError, match=r"Line 2 of shop\.csv has no column 'day'"):
        histories_of([{"customer": "7", "article": "A", "title": "", "count": "1"}])


def test_rows_without_history_item_or_time_are_counted() -> None:
    reader = HistoryReader(SHOP)
    rows = [
        shop_row("", "A", "2010-12-01"),
        shop_row("7", " ", "2010-12-01"),
        shop_row("7", "A", ""),
        shop_row("7", "A", "2010-12-01", title=""),
    ]
    reader.read(enumerate(rows, 2), "shop.csv")
    assert reader.skipped == {"empty customer": 1, "empty article": 1, "empty day": 1}
    assert [history.text for history in reader.histories()] == ["A\t\t<2\tfirst"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escapes_round_trip(text: str) -> None:
    assert unescape(escape(text)) == text
    assert not {"\t", "\n", "\r"} & set(escape(text))


@pytest.mark.parametrize(
    ("value", "label"), [("", ""), ("-1", "<2"), ("2", "2..<6"), ("5.99", "2..<6"), ("6", ">=6"), (">=6", ">=6")]
)
def test_numbers_are_in_half_open_bins(value: str, label: str) -> None:
    assert number_label(value, (2.0, 6.0)) == label
    assert bin_labels((2.0, 6.0)) == ("<2", "2..<6", ">=6")


@pytest.mark.parametrize(
    ("seconds", "label"), [(None, "first"), (0, "0"), (0.5, "<1m"), (60, "<10m"), (86400, "<3d"), (4e8, ">=1y")]
)
def test_gaps_are_on_a_log_scale(seconds: float | None, label: str) -> None:
    assert gap_label(seconds) == label


@pytest.mark.parametrize("order_as", ["number", "seconds", "milliseconds"])
def test_an_order_with_underscores_is_no_number(order_as: str) -> None:
    with pytest.raises(ValueError, match="1_000"):
        order_key("1_000", order_as)


@pytest.mark.parametrize(
    ("text", "order_as", "seconds"),
    [
        ("1970-01-02", "iso", 86400.0),
        ("1970-01-01T00:00:01.5Z", "iso", 1.5),
        ("1970-01-01 01:00:00+01:00", "iso", 0.0),
        ("2/1/1970 0:01", "%d/%m/%Y %H:%M", 86460.0),
        ("2000", "milliseconds", 2.0),
        ("-3", "number", -3.0),
        ("b", "text", "b"),
    ],
)
def test_times_and_numbers_are_read(text: str, order_as: str, seconds: float | str) -> None:
    assert order_key(text, order_as) == seconds


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (17850.0, "17850"),
        (2.5, "2.5"),
        (True, "true"),
        (" a ", "a"),
        (datetime.datetime(2010, 12, 1, 8, 26), "2010-12-01T08:26:00"),
    ],
)
def test_values_of_typed_tables_are_written_alike(value: object, text: str) -> None:
    assert value_text(value) == text


def test_histories_are_divided_at_a_time() -> None:
    rows = [shop_row(customer, f"A{day}", f"2010-12-0{day}") for customer, day in [("7", 1), ("7", 4), ("8", 2)]]
    histories = histories_of([*rows, shop_row("9", "A5", "2010-12-05")])
    cut = cut_time(histories, SHOP, 0.5)
    parts = [history.divided(cut) for history in histories]

    def items(history: History | None) -> list[str] | None:
        return None if history is None else [event.partition("\t")[0] for event in history.events]

    assert [(items(before), items(after)) for before, after in parts] == [
        (["A1"], ["A4"]),
        (["A2"], None),
        (None, ["A5"]),
    ]
    with pytest.raises(TinyError, match="smaller share"):
        cut_time(histories_of([rows[0]]), SHOP, 0.5)
