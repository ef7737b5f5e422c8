"""Looks at the rows of a table, and proposes the schema with a reason for each choice."""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlx_tiny.data.events.cells import order_key, value_text
from mlx_tiny.data.events.histories import Row
from mlx_tiny.data.events.schema import TIME_FORMATS, Column, Schema, format_schema
from mlx_tiny.errors import TinyError

TIME_PATTERNS = tuple(
    f"{day}{clock}"
    for day in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y")
    for clock in ("", " %H:%M", " %H:%M:%S", " %I:%M:%S %p", " %I:%M %p")
)
"""Ways to write a time that are tried after ISO 8601, in this order."""
_OWNERS = "customer client user member patient account player visitor device person buyer household student card author"
_VISITS = "session basket invoice order visit transaction trip cart case playlist ticket document"
_ITEMS = "item product article stock sku isbn track song movie page url event action activity symbol code merchant term"
_NAMES = {kind: words.split() for kind, words in {"owner": _OWNERS, "visit": _VISITS, "item": _ITEMS}.items()}
_WHY = {
    "owner": "by its name, it tells whose events these are",
    "visit": "by its name, it tells which events belong to one visit",
}
_SURE = 0.95
"""Share of the rows in which a group has to tell a value."""
_FEW = 0.1
"""Share of values that are no numbers or times, below which they are taken for errors in a column of these."""
_TOLD = 0.9
"""Share of the rows in which the item tells a value, from which on this is left out."""
_BINS = 8
LARGEST_ROWS = 200_000
"""Rows that are looked at; they are kept in memory."""
LARGEST_COLUMNS = 1000
"""Of 100,000 columns each would be compared with others for two minutes, and no event needs so many tokens."""
_LARGEST_CATEGORY = 1000
_LONGEST_WORDS = 200
"""In characters, on average; longer texts would fill the context."""
_SECONDS_RANGE = (1e8, 1e10)
"""1973 to 2286."""


@dataclass(frozen=True)
class Proposal:
    """A schema, and why."""

    schema: Schema
    comments: dict[str, str]
    ignored: dict[str, str]
    """A reason for each column that is left out."""
    events: int
    """Rows that were looked at."""
    histories: int
    tokens: int
    """Tokens of all histories, about."""

    @property
    def text(self) -> str:
        """The schema file."""
        return format_schema(self.schema, self.comments, self.ignored)


class _Values:
    """The values of one column."""

    def __init__(self, name: str, texts: list[str]) -> None:
        self.name, self.texts = name, texts
        self.filled = [text for text in texts if text]
        self.counts = Counter(self.filled)

    @property
    def distinct(self) -> int:
        return len(self.counts)

    @cached_property
    def runs(self) -> int:
        """Number of stretches of rows with the same value."""
        return 1 + sum(a != b for a, b in zip(self.texts, self.texts[1:], strict=False))

    @cached_property
    def numbers(self) -> list[float]:
        """The values as numbers; nothing where one of them is none."""
        if not all(_readable(text, "number") for text in self.counts):
            return []
        return [float(order_key(text, "number")) for text in self.filled]

    @cached_property
    def time_format(self) -> str:
        """How all values are read as times; empty where one of them is none."""
        return next(iter(self.time_formats()), "")

    def time_formats(self) -> Iterator[str]:
        """Every way to read all values as times."""
        if self.numbers:
            middle = float(np.median(self.numbers))
            yield from (f for f, scale in (("seconds", 1), ("milliseconds", 1000)) if _in_range(middle / scale))
        elif self.filled:
            formats = ("iso", *TIME_PATTERNS)
            yield from (f for f in formats if all(_readable(text, f) for text in self.counts))

    @property
    def oddity(self) -> str:
        """What is not of the kind that most values are; empty where all are numbers or times, or most are neither."""
        for kind, order_as in (("number", "number"), ("time", "iso")):
            odd = {text: count for text, count in self.counts.items() if not _readable(text, order_as)}
            if odd and sum(odd.values()) < _FEW * len(self.filled):
                return f"no {kind} in {sum(odd.values()):,} of {len(self.filled):,} rows, such as {next(iter(odd))!r}"
        return ""

    def is_called(self, kind: str) -> bool:
        """Whether a word of the column's name is usual for "owner", "visit" or "item"."""
        words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", self.name)]
        return any(word.removesuffix("s") in _NAMES[kind] or word in _NAMES[kind] for word in words)

    @property
    def rows_per_value(self) -> float:
        return len(self.filled) / max(1, self.distinct)

    @property
    def is_fraction(self) -> bool:
        return any(not number.is_integer() for number in self.numbers)

    @property
    def words(self) -> float:
        """Words per value."""
        return sum(len(text.split()) * count for text, count in self.counts.items()) / max(1, len(self.filled))


def _in_range(seconds: float) -> bool:
    return _SECONDS_RANGE[0] < seconds < _SECONDS_RANGE[1]


def _readable(text: str, order_as: str) -> bool:
    try:
        order_key(text, order_as)
    except (ValueError, OverflowError):
        return False
    return True


def describe(rows: Iterable[Row], where: str) -> Proposal:
    """Propose how the rows of the table called `where` become histories of events, from the first `LARGEST_ROWS`.

    Raises:
        TinyError: there are no rows, too many columns, or no column repeats in the way that items do.
    """
    texts: dict[str, list[str]] = {}
    count = 0
    for _, row in itertools.islice(rows, LARGEST_ROWS):
        for name in row:
            texts.setdefault(name, [""] * count)
        if len(texts) > LARGEST_COLUMNS:
            raise TinyError(
                f"{where} has too many columns for events",
                expected=f"at most {LARGEST_COLUMNS:,}",
                got=f"{len(texts):,} or more",
                remedy="Keep those that matter",
            )
        count += 1
        for name, values in texts.items():
            values.append(value_text(row.get(name)))
    if not count:
        raise TinyError(f"{where} contains no rows", remedy="Name a table with rows")
    # A column without a name, as programs write row numbers, cannot be named in a schema.
    return _Describer([_Values(name, values) for name, values in texts.items() if name], count, where).proposal()


class _Describer:
    def __init__(self, columns: Sequence[_Values], rows: int, where: str) -> None:
        self.columns, self.rows, self.where = columns, rows, where
        self.comments: dict[str, str] = {}
        self.ignored: dict[str, str] = {}

    def proposal(self) -> Proposal:
        order = self._order()
        history = self._history(order)
        groups = history.texts if history else [""] * self.rows
        item = self._item(history, order, groups)
        columns = [Column(item.name, "item")]
        for values in self.columns:
            if values not in (history, item) and (column := self._other(values, order, item, groups)):
                columns.append(column)
        schema = Schema(
            tuple(columns),
            (history.name,) if history else (),
            order.name if order else "",
            order.time_format if order else "iso",
            "history" if history else "time" if order else "history",
        )
        self.comments["split"] = "whole histories are held out; or time: the last events are"
        if not history:
            self.comments["split"] = "the last events are held out, since there is only one history"
        named = {values.name: values for values in self.columns}
        cells = sum(named[column.name].words if column.kind == "words" else 1 for column in columns)
        tokens = round(self.rows * (cells + len(columns)))  # each cell is followed by a tab or a line end
        return Proposal(schema, self.comments, self.ignored, self.rows, history.distinct if history else 1, tokens)

    def _order(self) -> _Values | None:
        times = [values for values in self.columns if values.time_format and values.distinct > 1]
        if not times:
            return None
        best = max(times, key=lambda values: (len(values.filled), values.distinct))
        sorted_keys = [order_key(text, best.time_format) for text in best.filled]
        in_order = "the rows are in this order" if sorted_keys == sorted(sorted_keys) else "the rows are sorted by it"
        self.comments["order"] = f"a time in each of {len(best.filled):,} rows, {best.distinct:,} different; {in_order}"
        others = [f for f in best.time_formats() if f != best.time_format]
        if best.time_format not in TIME_FORMATS and others:
            self.comments["order_as"] = f"could also be {', '.join(others)}: please check"
        return best

    def _history(self, order: _Values | None) -> _Values | None:
        candidates = [
            values
            for values in self.columns
            if values is not order
            and not values.is_fraction
            and values.distinct > 1
            and values.rows_per_value >= 2
            and len(values.filled) >= self.rows / 2
        ]
        for kind in ("owner", "visit"):
            for values in candidates:
                if values.is_called(kind):
                    return self._grouped(values, _WHY[kind])
        together = [values for values in candidates if values.runs <= 1.01 * values.distinct and values.distinct > 2]
        if together:
            return self._grouped(max(together, key=lambda values: values.distinct), "rows of one value stand together")
        self.comments["history"] = "no column groups the rows, so the table is one history"
        return None

    def _grouped(self, values: _Values, why: str) -> _Values:
        self.comments["history"] = f"{why}; {values.distinct:,} values, with {values.rows_per_value:.1f} rows each"
        return values

    def _item(self, history: _Values | None, order: _Values | None, groups: list[str]) -> _Values:
        candidates = [
            values
            for values in self.columns
            if values not in (history, order)
            and not values.is_fraction
            and values.distinct > 1
            and values.rows_per_value >= 2
            and not values.is_called("visit")
            and not _determined(values, groups)
        ]
        if not candidates:
            raise TinyError(
                f"{self.where} has no column of items: none has values that come again within and across histories",
                got=", ".join(f"{values.name} with {values.distinct:,} values" for values in self.columns),
                remedy="Train on its rows as texts (without --schema), or write the schema by hand",
            )
        best = max(candidates, key=lambda v: (v.is_called("item"), not v.numbers, v.words < 2, v.distinct))
        self.comments[f"columns.{best.name}"] = (
            f"what is predicted: {best.distinct:,} values, {sum(n == 1 for n in best.counts.values()):,} occur once"
        )
        return best

    def _other(self, values: _Values, order: _Values | None, item: _Values, groups: list[str]) -> Column | None:
        """The column of the schema, or None with a reason in `ignored`."""
        kind, why = self._kind(values, order, item, groups)
        if not kind:
            self.ignored[values.name] = f"left out: {why}"
            return None
        self.comments[f"columns.{values.name}"] = why
        return Column(values.name, kind, _quantiles(values.numbers) if kind == "number" else ())

    def _kind(self, values: _Values, order: _Values | None, item: _Values, groups: list[str]) -> tuple[str, str]:
        if values is order:
            return "time", "the gap since the event before"
        if values.distinct < 2:
            return "", "it has one value"
        if values.time_format:
            return "", "another time"
        if _determined(values, groups):
            return "", "the same in all events of a history"
        if values.oddity:
            return "", f"{values.oddity}; correct these rows, and it can be used"
        if values.words >= 2 and not values.numbers:
            length = sum(map(len, values.filled)) / len(values.filled)
            if length > _LONGEST_WORDS:
                return "", f"long texts, {length:.0f} characters on average"
            return "words", f"text of {values.words:.1f} words on average, which shows which items are alike"
        if values.is_called("visit") or (_determined(_Values("", groups), values.texts) and values.distinct > 20):
            return "", f"a name of {values.distinct:,} visits, each in one history"
        if _agreement(values, item.texts) >= _TOLD:
            return "", f"the item tells it, in {_agreement(values, item.texts):.0%} of the rows"
        if values.numbers and (values.distinct > 2):
            return "number", f"numbers from {min(values.numbers):g} to {max(values.numbers):g}, in bins of equal share"
        if values.distinct <= _LARGEST_CATEGORY and values.rows_per_value >= 2:
            return "category", f"{values.distinct:,} values"
        return "", f"{values.distinct:,} different values"


def _agreement(values: _Values, groups: list[str]) -> float:
    """Share of the rows that have the most frequent value of their group."""
    inside = defaultdict[str, Counter[str]](Counter)
    for text, group in zip(values.texts, groups, strict=True):
        inside[group][text] += 1
    return sum(max(counts.values()) for counts in inside.values()) / max(1, len(groups))


def _determined(values: _Values, groups: list[str]) -> bool:
    """Whether the group tells the value."""
    return _agreement(values, groups) >= _SURE


def _quantiles(numbers: list[float]) -> tuple[float, ...]:
    """Edges of bins with about equal shares of the numbers; fewer where many are equal."""
    shares = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = {float(edge) for edge in np.quantile(numbers, shares, method="inverted_cdf")}
    least = min(numbers)
    return tuple(sorted(edge for edge in edges if edge > least)) or (max(numbers),)
