"""A schema says how the rows of a table become histories of events; it is a small YAML file that a person can edit.

history: CustomerID            # rows with the same value are one history; a list of columns, or [] for one history
order: InvoiceDate             # orders the events of a history; left out: the order of the rows
order_as: "%Y-%m-%d %H:%M:%S"  # iso, seconds, milliseconds (since 1970), number, text, or a pattern of strptime
split: history                 # whole histories are held out; time: the last events in time are
columns:
  StockCode: item              # what is predicted
  Description: words           # text: a token per word
  Country: category            # a token per value
  Quantity: {number: [2, 6]}   # a token per bin: below 2, from 2 to below 6, 6 and more
  InvoiceDate: time            # the gap since the event before, on a log scale
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_tiny.errors import TinyError, one_line
from mlx_tiny.files import read_whole

if TYPE_CHECKING:
    import yaml

KINDS = ("item", "words", "category", "number", "time")
"""What a column can be."""
SPLITS = ("history", "time")
TIME_FORMATS = ("iso", "seconds", "milliseconds")
ORDERS = (*TIME_FORMATS, "number", "text")
_MOST_BYTES = 1 << 20
_KEYS = ("history", "order", "order_as", "split", "columns")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_ .-]*[A-Za-z0-9_]|[A-Za-z_]")
_YAML_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
"""Words that other readers of YAML take for something else than text."""


@dataclass(frozen=True)
class Column:
    """A column of the table that is a part of each event."""

    name: str
    kind: str
    """One of `KINDS`."""
    edges: tuple[float, ...] = ()
    """`number` only: the edges of the bins, rising; a bin has its lower edge and lacks its upper one."""

    def __post_init__(self) -> None:
        where = f"The column {self.name!r} of the schema"
        if self.kind not in KINDS:
            raise TinyError(f"{where} has an unknown kind", expected=f"one of {', '.join(KINDS)}", got=self.kind)
        if self.kind == "number":
            rising = all(lower < upper for lower, upper in itertools.pairwise(self.edges))
            if not self.edges or not rising or not all(map(math.isfinite, self.edges)):
                raise TinyError(f"{where} needs the edges of its bins", expected="rising numbers", got=list(self.edges))


@dataclass(frozen=True)
class Schema:
    """How the rows of a table become histories of events; the module describes the file."""

    columns: tuple[Column, ...]
    """What an event consists of, in the order in which it is written; the item is the first."""
    history: tuple[str, ...] = ()
    """Columns whose values together name the history; without any, the table is one history."""
    order: str = ""
    """Column that orders the events of a history; empty: the order of the rows."""
    order_as: str = "iso"
    """How the values of `order` are read: one of `ORDERS`, or a pattern of strptime."""
    split: str = "history"
    """What is held out: whole histories, chosen by a hash of their names, or the last events in time."""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        kinds = [column.kind for column in self.columns]
        repeated = sorted({name for name in names if names.count(name) > 1})
        timed = is_time(self.order_as)
        for fails, failed, expected, got in (
            (kinds.count("item") != 1, "The schema needs exactly one item", "one column of the kind item", kinds),
            (bool(repeated), "The schema names a column twice", "each column once", ", ".join(repeated)),
            (bool(kinds) and kinds[0] != "item", "The item is not the first column of an event", "item first", kinds),
            (self.split not in SPLITS, "The schema has an unknown split", " or ".join(SPLITS), self.split),
            (
                not timed and self.order_as not in ORDERS,
                "The schema has an unknown way to read the order",
                f"{', '.join(ORDERS)}, or a pattern such as %d/%m/%Y",
                self.order_as,
            ),
            (
                self.split == "time" and not (self.order and timed),
                "A split by time needs a column of times that orders the events",
                "order, and order_as a time",
                f"order {self.order or 'none'}, order_as {self.order_as}",
            ),
            (
                any(column.kind == "time" and column.name != self.order for column in self.columns)
                or ("time" in kinds and not (self.order and timed)),
                "A column of the kind time gives the gap between events, so it is the one that orders them",
                "the column under order, and order_as a time",
                f"order {self.order or 'none'}, order_as {self.order_as}",
            ),
        ):
            if fails:
                raise TinyError(failed, expected=expected, got=got, remedy="Correct the schema")

    @property
    def item(self) -> Column:
        """The column that is predicted."""
        return self.columns[0]

    def differences(self, other: Schema) -> list[str]:
        """The keys in which another schema has other values."""
        return [key for key in _KEYS if getattr(self, key) != getattr(other, key)]

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of all columns that the table must have, each once."""
        names = [*self.history, *([self.order] if self.order else []), *(column.name for column in self.columns)]
        return tuple(dict.fromkeys(names))


def is_time(order_as: str) -> bool:
    """Whether this way to read a value gives a time."""
    return order_as in TIME_FORMATS or "%" in order_as


def read_schema(path: Path) -> Schema:
    """Read a schema that a person may have edited.

    Raises:
        TinyError: it is missing, or not a schema; the error names the line.
    """
    raw = read_whole(path, "schema", _MOST_BYTES)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TinyError(f"The schema {path} is not valid UTF-8", remedy="Save it as UTF-8") from error
    return parse_schema(text, str(path))


def parse_schema(text: str, where: str) -> Schema:
    """The schema with this text; errors call it `where`."""
    return _Reader(where).schema(text)


class _Reader:
    """Reads the tree that the YAML library gives, so that errors can name lines; all values are taken as text."""

    def __init__(self, where: str) -> None:
        self._where = where

    def schema(self, text: str) -> Schema:
        import yaml

        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = f"Line {mark.line + 1} of {self._where}" if mark else self._where
            raise TinyError(
                f"{place} is not valid YAML: {getattr(error, 'problem', None) or error}",
                remedy="Correct the line, or write a new schema (mlx-tiny data describe)",
            ) from error
        if root is None:
            raise TinyError(f"The schema {self._where} is empty", remedy="Write one (mlx-tiny data describe)")
        values = {key: node for _, key, node in self._items(root, _KEYS)}
        if "columns" not in values:
            raise self._error(root, "the key columns", ", ".join(values))
        columns = [self._column(name, node) for _, name, node in self._items(values["columns"])]
        columns.sort(key=lambda column: column.kind != "item")
        settings: dict[str, Any] = {
            key: self._text(values[key]) for key in ("order", "order_as", "split") if key in values
        }
        if "history" in values:
            settings["history"] = self._texts(values["history"])
        try:
            return Schema(columns=tuple(columns), **settings)
        except TinyError as error:
            raise TinyError(
                f"{self._where}: {error.failed}", expected=error.expected, got=error.got, remedy=error.remedy
            ) from None

    def _items(
        self, node: yaml.Node, known: tuple[str, ...] | None = None
    ) -> Iterator[tuple[yaml.Node, str, yaml.Node]]:
        """Key node, key and value of a mapping, each key once."""
        if node.id != "mapping":
            raise self._error(node, "names with values", _shown(node))
        seen = set[str]()
        for key_node, value in node.value:
            key = self._text(key_node)
            if key in seen or (known is not None and key not in known):
                expected = f"one of {', '.join(known)}, each once" if known else "each column once"
                raise self._error(key_node, expected, key)
            seen.add(key)
            yield key_node, key, value

    def _column(self, name: str, node: yaml.Node) -> Column:
        kind, edges = node, None
        if node.id == "mapping":
            pairs = list(self._items(node, ("number",)))
            if len(pairs) != 1:
                raise self._error(node, "a kind, or {number: [edges]}", f"{name} with {len(pairs)} values")
            kind, edges = pairs[0][0], pairs[0][2]
        try:
            return Column(name, self._text(kind), tuple(map(self._number, self._list(edges))) if edges else ())
        except TinyError as error:
            if error.failed.startswith("Line "):
                raise
            raise TinyError(
                f"Line {node.start_mark.line + 1} of {self._where}: {error.failed}",
                expected=error.expected,
                got=error.got,
                remedy="Correct the line",
            ) from None

    def _list(self, node: yaml.Node) -> list[yaml.Node]:
        if node.id != "sequence":
            raise self._error(node, "a list in brackets", _shown(node))
        return list(node.value)

    def _texts(self, node: yaml.Node) -> tuple[str, ...]:
        return tuple(map(self._text, self._list(node))) if node.id == "sequence" else (self._text(node),)

    def _text(self, node: yaml.Node) -> str:
        if node.id != "scalar":
            raise self._error(node, "a word", _shown(node))
        return str(node.value)

    def _number(self, node: yaml.Node) -> float:
        try:
            return finite_number(self._text(node))
        except ValueError:
            raise self._error(node, "a number", node.value) from None

    def _error(self, node: yaml.Node, expected: str, got: str) -> TinyError:
        return TinyError(
            f"Line {node.start_mark.line + 1} of {self._where} is not part of a schema",
            expected=expected,
            got=got,
            remedy="Correct the line, or write a new schema (mlx-tiny data describe)",
        )


def _shown(node: yaml.Node) -> str:
    return {"mapping": "names with values", "sequence": "a list", "scalar": repr(node.value)}[node.id]


def format_schema(
    schema: Schema, comments: Mapping[str, str] | None = None, ignored: Mapping[str, str] | None = None
) -> str:
    """The schema as YAML.

    Args:
        comments: a reason for each key or column, written beside it.
        ignored: a reason for each column of the table that is left out.
    """
    notes = comments or {}
    history = [yaml_text(name) for name in schema.history]
    grouped = history[0] if len(history) == 1 else f"[{', '.join(history)}]"
    lines = [("", f"history: {grouped}", notes.get("history"))]
    if schema.order:
        lines.append(("", f"order: {yaml_text(schema.order)}", notes.get("order")))
        lines.append(("", f"order_as: {yaml_text(schema.order_as)}", notes.get("order_as")))
    lines += [("", f"split: {schema.split}", notes.get("split")), ("", "columns:", None)]
    for column in schema.columns:
        value = f"{{number: [{', '.join(map(number_text, column.edges))}]}}" if column.edges else column.kind
        lines.append(("  ", f"{yaml_text(column.name)}: {value}", notes.get(f"columns.{column.name}")))
    written = [f"{indent}{text}  # {one_line(note)}" if note else f"{indent}{text}" for indent, text, note in lines]
    written += [f"  # {one_line(name)}: {one_line(reason)}" for name, reason in (ignored or {}).items()]
    return "\n".join(written) + "\n"


def yaml_text(text: str) -> str:
    """The text as YAML, quoted where it has to be."""
    if _PLAIN.fullmatch(text) and text.lower() not in _YAML_WORDS:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{"".join(c if c.isprintable() else f"{chr(92)}U{ord(c):08x}" for c in escaped)}"'


def finite_number(text: str) -> float:
    """The number that a text is; Python would also read `1_000` as 1000, and `nan`.

    Raises:
        ValueError: the text is no finite number.
    """
    value = float(text)
    if "_" in text or not math.isfinite(value):
        raise ValueError(text)
    return value


def number_text(value: float) -> str:
    """A number as short as it can be read back exactly."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
