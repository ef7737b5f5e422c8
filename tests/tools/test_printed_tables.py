"""Tables fit their width; the legend explains the columns and names those left out."""

from __future__ import annotations

import functools

import pytest

from mlx_tiny.tools.statistics import Spread
from mlx_tiny.tools.tables import Column, Table, ratio_cell, spread_cell, time_cell, wrapped

ROWS = {"plain": ["1 s!", "-", "long text"], "mlx": ["22 ms", "-", "x"], "metal": None}


def cell(number: int, name: str) -> str:
    return ROWS[name][number]


def made(width: int = 80) -> Table[str]:
    columns = [
        Column(title, functools.partial(cell, number), meaning)
        for number, (title, meaning) in enumerate([("time", "median"), ("empty", "nothing"), ("words", "")])
    ]
    note = lambda name: "it cannot run on this machine, which has none" if ROWS[name] is None else None  # noqa: E731
    return Table(str, columns, note=note, marks=[("!", "loaded"), ("?", "doubtful")], width=width)


def test_columns_are_aligned_and_a_note_takes_the_rest_of_its_line() -> None:
    table = made(width=34)
    assert list(table.lines(list(ROWS), title="by")) == [
        "  by      time      words",
        "  plain   1 s!  long text",
        "  mlx    22 ms          x",
        "  metal  it cannot run on this",
        "         machine, which has none",
    ]
    assert list(table.legend()) == ["time: median; !: loaded"]


def test_columns_beyond_the_width_are_left_out_and_named() -> None:
    table = made(width=20)
    assert list(table.lines(["plain", "mlx"])) == ["          time", "  plain   1 s!", "  mlx    22 ms"]
    assert " ".join(map(str.strip, table.legend())).endswith("columns that only --json has: words")


def test_a_table_without_figures_has_its_notes() -> None:
    table = made()
    assert list(table.lines(["metal"])) == ["", "  metal  it cannot run on this machine, which has none"]
    assert list(table.legend()) == []


@pytest.mark.parametrize(
    ("text", "lines"), [("", [""]), ("one two three", ["one two", "  three"]), ("  a-b c-d  e", ["  a-b", "  c-d  e"])]
)
def test_long_lines_are_wrapped(text: str, lines: list[str]) -> None:
    assert wrapped(text, width=8) == lines


def test_cells() -> None:
    calm, loaded = Spread(2e-3, 1.9e-3, 2.2e-3, 5, False), Spread(2.0, 1.0, 2.5, 5, True)
    assert [time_cell(calm), time_cell(loaded), time_cell(None)] == ["2 ms", "2 s!", "-"]
    assert [spread_cell(calm), spread_cell(None)] == ["±8%", "-"]
    assert [ratio_cell(loaded), ratio_cell(None)] == ["2.00±0.75!", "-"]
