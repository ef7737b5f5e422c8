"""Rows of a table become histories, and a history becomes a text: one event per line, cells separated by tabs."""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlx_tiny.data.events.cells import (
    cell_error,
    escape,
    gap_label,
    labels_of,
    number_label,
    order_key,
    unescape,
    value_text,
)
from mlx_tiny.data.events.schema import Column, Schema, is_time
from mlx_tiny.errors import TinyError

Row = tuple[int, Mapping[str, object]]
"""Line or row number, from 1, and the values by the names of the columns."""


@dataclass(frozen=True)
class History:
    """The events of one customer, session, invoice or the like, in their order."""

    name: str
    """The values that group its rows, separated by spaces."""
    events: tuple[str, ...]
    """A line per event."""
    keys: tuple[float | str, ...]
    """What each event was sorted by; empty where the schema names no order."""

    @property
    def text(self) -> str:
        """What the model reads."""
        return "\n".join(self.events)

    def divided(self, cut: float) -> tuple[History | None, History | None]:
        """The events before the time `cut`, in seconds, and those from it on; None where there is none."""
        early = sum(isinstance(key, float) and key < cut for key in self.keys)
        parts = (slice(0, early), slice(early, None))
        before, after = (History(self.name, self.events[part], self.keys[part]) for part in parts)
        return before if before.events else None, after if after.events else None


@dataclass
class _Event:
    key: float | str
    cells: list[str]


@dataclass
class HistoryReader:
    """Collects rows, which are kept in memory until all are read, because a history may be anywhere in a table."""

    schema: Schema
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows that gave no event, by the reason."""
    _events: dict[tuple[str, ...], list[_Event]] = field(default_factory=dict)

    def read(self, rows: Iterable[Row], where: str) -> None:
        """Add the rows of the file called `where`.

        Raises:
            TinyError: a column is missing, or a value does not fit the schema; the error names line and column.
        """
        for number, row in rows:
            place = f"Line {number} of {where}"
            texts = {name: self._value(row, name, place) for name in self.schema.needed}
            missing = self._missing(texts)
            if missing is not None:
                self.skipped[f"empty {missing}"] += 1
                continue
            event = _Event(self._key(texts, place), [self._cell(c, texts[c.name], place) for c in self.schema.columns])
            self._events.setdefault(tuple(texts[name] for name in self.schema.history), []).append(event)

    def histories(self) -> list[History]:
        """All histories, in the order of their first rows; events of the same time keep the order of the rows."""
        return [self._history(name, events) for name, events in self._events.items()]

    def _value(self, row: Mapping[str, object], name: str, place: str) -> str:
        if name not in row:
            raise TinyError(
                f"{place} has no column {name!r}, {self._purpose(name)} by the schema",
                got=f"the columns {', '.join(row)}",
                remedy="Name a table with this column, or train with a schema without it",
            )
        return value_text(row[name])

    def _purpose(self, name: str) -> str:
        if name in self.schema.history:
            return "which tells whose history an event belongs to"
        if name == self.schema.order:
            return "which tells the order of the events"
        return "which is predicted" if name == self.schema.item.name else "which is a part of each event"

    def _missing(self, texts: Mapping[str, str]) -> str | None:
        """The first column without which a row is no event."""
        names = [*self.schema.history, self.schema.item.name, *([self.schema.order] if self.schema.order else [])]
        return next((name for name in names if not texts[name]), None)

    def _key(self, texts: Mapping[str, str], place: str) -> float | str:
        if not self.schema.order:
            return ""
        text = texts[self.schema.order]
        try:
            return order_key(text, self.schema.order_as)
        except (ValueError, OverflowError):
            raise cell_error(
                place, self.schema.order, f"a value that is read as {self.schema.order_as}", text
            ) from None

    def _cell(self, column: Column, text: str, place: str) -> str:
        if column.kind == "time":
            return ""  # known only when the events are sorted
        if column.kind != "number":
            return sys.intern(escape(text))
        try:
            return number_label(text, column.edges)
        except ValueError:
            raise cell_error(place, column.name, "a number", text) from None

    def _history(self, name: tuple[str, ...], events: list[_Event]) -> History:
        if self.schema.order:
            events = sorted(events, key=lambda event: event.key)
        gaps = [index for index, column in enumerate(self.schema.columns) if column.kind == "time"]
        lines, before = [], math.nan
        for event in events:
            for index in gaps:
                assert isinstance(event.key, float)
                event.cells[index] = gap_label(None if math.isnan(before) else event.key - before)
                before = event.key
            lines.append("\t".join(event.cells))
        keys = tuple(event.key for event in events) if self.schema.order else ()
        return History(" ".join(name), tuple(lines), keys)


def usual_words(texts: Iterable[str], schema: Schema) -> dict[str, str]:
    """The most frequent words that stand beside each item in the texts of histories; empty without such a column."""
    column = next((index for index, column in enumerate(schema.columns) if column.kind == "words"), None)
    if column is None:
        return {}
    found = defaultdict[str, Counter[str]](Counter)
    for text in texts:
        for line in text.split("\n"):
            cells = line.split("\t")
            if cells[column]:
                found[unescape(cells[0])][unescape(cells[column])] += 1
    return {item: counts.most_common(1)[0][0] for item, counts in found.items()}


def count_events(text: str) -> int:
    """Number of events in the text of a history."""
    return text.count("\n") + 1


def cut_time(histories: Iterable[History], schema: Schema, share: float) -> float:
    """The time from which on the last `share` of all events lie, in seconds since 1970.

    Raises:
        TinyError: all events are at one time, so that none are before the others.
    """
    assert is_time(schema.order_as)
    keys = sorted(key for history in histories for key in history.keys if isinstance(key, float))
    cut = keys[min(len(keys) - 1, math.ceil(len(keys) * (1 - share)))] if keys else math.inf
    if not keys or cut <= keys[0]:
        raise TinyError(
            "No events are earlier than the share that is held out",
            expected="a split by time with events before the cut",
            got=f"{len(keys)} events, a share of {share:g}",
            remedy="Hold out a smaller share (--held-out), or write split: history",
        )
    return cut


def rows_of(text: str, schema: Schema) -> list[dict[str, str]]:
    """The events of a text as rows: numbers and gaps are the names of their bins.

    Raises:
        TinyError: a line is not an event of this schema, as may happen in a generated text.
    """
    return [_row(line, schema, f"Event {number}") for number, line in enumerate(text.split("\n"), 1)]


def _row(line: str, schema: Schema, place: str) -> dict[str, str]:
    cells = line.split("\t")
    if len(cells) != len(schema.columns) or not cells[0]:
        raise TinyError(
            f"{place} does not fit the schema", expected=f"{len(schema.columns)} cells, first an item", got=repr(line)
        )
    for column, cell in zip(schema.columns, cells, strict=True):
        labels = labels_of(column)
        if labels is not None and cell and cell not in labels:
            raise cell_error(place, column.name, "the name of a bin", cell)
    return {column.name: unescape(cell) for column, cell in zip(schema.columns, cells, strict=True)}


def event_text(row: Mapping[str, str], schema: Schema) -> str:
    """The line of a row that `rows_of` gave."""
    return "\t".join(escape(row[column.name]) for column in schema.columns)
