"""A cell of an event: a value of the table as the model reads it.

Numbers and gaps are written as the name of their bin, such as `2..<6` or `<1h`; such a name stands for itself, so that
an event that is read back gives the same cells. Values that contain a tab or a line end are escaped.
"""

from __future__ import annotations

import bisect
import datetime
import functools
import itertools
import math
import re

from mlx_tiny.data.events.schema import Column, finite_number, number_text
from mlx_tiny.errors import TinyError

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0
GAP_EDGES = {
    "<1m": _MINUTE,
    "<10m": 10 * _MINUTE,
    "<1h": _HOUR,
    "<6h": 6 * _HOUR,
    "<1d": _DAY,
    "<3d": 3 * _DAY,
    "<1w": 7 * _DAY,
    "<2w": 14 * _DAY,
    "<1M": 30 * _DAY,
    "<3M": 91 * _DAY,
    "<1y": 365 * _DAY,
}
"""Names of the bins of gaps, with their upper edges in seconds; factors of two to ten, at the customary units."""
FIRST_GAP, NO_GAP, LONGEST_GAP = "first", "0", ">=1y"
GAP_LABELS = (FIRST_GAP, NO_GAP, *GAP_EDGES, LONGEST_GAP)
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {escaped: plain for plain, escaped in _ESCAPES.items()}
_ESCAPED = re.compile(r"\\[\\tnr]")
_TO_ESCAPE = re.compile(r"[\\\t\n\r]")


def value_text(value: object) -> str:
    """A value of a table as text without outer white space; a missing one is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        # A column of whole numbers with missing ones is read as floats.
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value)


def escape(text: str) -> str:
    """The text without tabs and line ends, which separate cells and events."""
    return _TO_ESCAPE.sub(lambda match: _ESCAPES[match.group()], text)


def unescape(cell: str) -> str:
    """The text that `escape` was given."""
    return _ESCAPED.sub(lambda match: _UNESCAPES[match.group()], cell)


@functools.lru_cache(maxsize=1024)
def bin_labels(edges: tuple[float, ...]) -> tuple[str, ...]:
    """Names of the bins between these edges, the lowest first."""
    shown = [number_text(edge) for edge in edges]
    between = [f"{lower}..<{upper}" for lower, upper in itertools.pairwise(shown)]
    return (f"<{shown[0]}", *between, f">={shown[-1]}")


def number_label(text: str, edges: tuple[float, ...]) -> str:
    """Name of the bin of a number; an empty text and the name of a bin stay what they are.

    Raises:
        ValueError: this is not a finite number.
    """
    labels = bin_labels(edges)
    if not text or text in labels:
        return text
    return labels[bisect.bisect_right(edges, finite_number(text))]


def gap_label(seconds: float | None) -> str:
    """Name of the bin of a gap; None stands for the first event of a history."""
    if seconds is None:
        return FIRST_GAP
    if seconds == 0:
        return NO_GAP
    return next((label for label, edge in GAP_EDGES.items() if seconds < edge), LONGEST_GAP)


def labels_of(column: Column) -> tuple[str, ...] | None:
    """The names that a cell of this column may have, besides the empty one; None where any text is valid."""
    if column.kind == "time":
        return GAP_LABELS
    return bin_labels(column.edges) if column.kind == "number" else None


def order_key(text: str, order_as: str) -> float | str:
    """What events are sorted by: seconds since 1970, a number, or the text itself.

    A time without a zone is taken as UTC, so that gaps never depend on the machine.

    Raises:
        ValueError: the text cannot be read so.
    """
    if order_as == "text":
        return text
    if order_as in ("number", "seconds", "milliseconds"):
        value = finite_number(text)
        return value / 1000 if order_as == "milliseconds" else value
    time = datetime.datetime.strptime(text, order_as) if "%" in order_as else _iso_time(text)
    return (time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)).timestamp()


def _iso_time(text: str) -> datetime.datetime:
    # Python 3.10 reads neither a Z nor fractions of other lengths than 3 and 6.
    text = re.sub(r"[zZ]$", "+00:00", text)
    text = re.sub(r"\.(\d{1,9})", lambda match: f".{match.group(1)[:6]:0<6}", text)
    return datetime.datetime.fromisoformat(text)


def cell_error(where: str, column: str, expected: str, got: str) -> TinyError:
    """The error for a value that does not fit the schema."""
    return TinyError(
        f"{where} does not fit the schema at the column {column!r}",
        expected=expected,
        got=repr(got),
        remedy="Correct the line, or the column in the schema",
    )
