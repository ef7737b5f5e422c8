"""Tables of plain text that fit a terminal of 80 columns, with a legend under them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mlx_tiny.errors import one_line
from mlx_tiny.tools.statistics import Spread
from mlx_tiny.units import format_bytes, format_duration

WIDTH = 80
ABSENT = "-"
OVERLOADED = "!"
"""Mark after a number that spreads too much, and after a ratio with such a number."""
PLUS_MINUS = "half the distance from p10 to p90"
_GAP = "  "

R = TypeVar("R")


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column. The important ones come first: if a table is too wide, the last ones are left out."""

    title: str
    cell: Callable[[R], str]
    """`ABSENT` or empty where there is no number."""
    meaning: str = ""
    """For the legend; empty if the title is clear."""


class Table(Generic[R]):
    """A table, or several tables of the same columns with one legend.

    Args:
        label: the first column, aligned to the left; the others are aligned to the right.
        note: text instead of the numbers of a row, for rows without numbers.
        marks: signs in the cells and their meanings, for the legend.
    """

    def __init__(
        self,
        label: Callable[[R], str],
        columns: Sequence[Column[R]],
        *,
        note: Callable[[R], str | None] = lambda row: None,
        marks: Sequence[tuple[str, str]] = (),
        width: int = WIDTH,
    ) -> None:
        self._label, self._columns, self._note, self._marks, self._width = label, columns, note, marks, width
        self._shown: dict[str, str] = {}
        self._left_out: dict[str, None] = {}
        self._signs = ""

    def lines(self, rows: Sequence[R], title: str = "") -> Iterator[str]:
        """The rows below the heading; columns without any number are not shown.

        Args:
            title: of the first column.
        """
        notes = [self._note(row) for row in rows]
        labels = [title, *map(self._label, rows)]
        left = max(map(len, labels))
        room, columns = self._width - len(_GAP) - left, list[list[str]]()
        for column in self._columns:
            cells = [ABSENT if note else column.cell(row) for row, note in zip(rows, notes, strict=True)]
            if not set(cells) <= {ABSENT, ""}:
                room -= len(_GAP) + max(map(len, [column.title, *cells]))
                if room < 0:
                    self._left_out[column.title] = None
                else:
                    self._shown[column.title] = column.meaning
                    columns.append([column.title, *cells])
                    self._signs += "".join(cells)
        widths = [max(map(len, cells)) for cells in columns]
        for number, (label, note) in enumerate(zip(labels, [None, *notes], strict=True)):
            begin = _GAP + label.ljust(left)
            if note:
                yield from wrapped(f"{begin}{_GAP}{note}", indent=len(begin) + len(_GAP), width=self._width)
            else:
                cells = [cells[number].rjust(width) for cells, width in zip(columns, widths, strict=True)]
                yield _GAP.join([begin, *cells]).rstrip()

    def legend(self) -> Iterator[str]:
        """Meanings of the columns and marks of all lines so far, and the columns that were left out."""
        parts = [f"{title}: {meaning}" for title, meaning in self._shown.items() if meaning]
        parts += [f"{sign}: {meaning}" for sign, meaning in self._marks if sign in self._signs]
        missing = ", ".join(title for title in self._left_out if title not in self._shown)
        if missing:
            parts.append(f"columns that only --json has: {missing}")
        if parts:
            yield from wrapped("; ".join(parts), indent=2, width=self._width)


def readable(values: Mapping[str, Any]) -> dict[str, str]:
    """Plain values as text, without those that are None."""
    lines = {}
    for name, value in values.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items() if inner is not None) or None
        if isinstance(value, float):
            value = f"{value:.6g}"
        if value is not None:
            lines[name] = format_bytes(value) if name.endswith("_bytes") else str(value)
    return lines


def block(values: Mapping[str, Any]) -> str:
    """Lines `key: value`, which a script can read."""
    return "\n".join(f"{name}: {one_line(text)}" for name, text in readable(values).items())


def markdown(rows: Mapping[str, str]) -> list[str]:
    """Lines of a table in Markdown, of two columns without a heading."""
    cells = (tuple(one_line(text).replace("|", "\\|") for text in row) for row in rows.items())
    return ["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in cells)]


def wrapped(text: str, *, indent: int = 2, width: int = WIDTH) -> list[str]:
    """A long line as several lines, indented after the first; leading blanks are kept."""
    blanks = len(text) - len(text.lstrip())
    lines = textwrap.wrap(
        text.lstrip(), width, initial_indent=blanks * " ", subsequent_indent=indent * " ", break_on_hyphens=False
    )
    return lines or [""]


def time_cell(time_s: Spread | None) -> str:
    """The median of some durations."""
    return ABSENT if time_s is None else format_duration(time_s.median) + OVERLOADED * time_s.overloaded


def spread_cell(spread: Spread | None) -> str:
    """The spread of some numbers, relative to their median."""
    return ABSENT if spread is None else f"±{spread.relative / 2:.0%}"


def ratio_cell(ratio: Spread | None) -> str:
    """A ratio and its spread."""
    if ratio is None:
        return ABSENT
    return f"{ratio.median:.2f}±{(ratio.p90 - ratio.p10) / 2:.2f}{OVERLOADED * ratio.overloaded}"
