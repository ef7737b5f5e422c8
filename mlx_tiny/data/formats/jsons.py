"""JSON: one object per line, or an array of objects, which is read as a stream."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from mlx_tiny.data.columns import LIST, TEXT, Choice, Column, are_prose, beginning, choose, is_usual
from mlx_tiny.data.documents import LARGEST_DOCUMENT_BYTES, Item, Rules, cut, listed, quoted, require_no_nul, too_large
from mlx_tiny.data.formats.reading import FileLook, Reading
from mlx_tiny.data.opening import InputFile, read_chunks, read_lines
from mlx_tiny.errors import TinyError
from mlx_tiny.files import unique_keys

_OBJECT = "object"
_TYPES = {str: TEXT, list: LIST, dict: _OBJECT, bool: "boolean", int: "number", float: "number"}
_WHITE_SPACE = re.compile(r"[ \t\n\r]*")

Row = tuple[int, int, Any]
"""Line number (from 1), characters, and the value."""


def read_json_lines(file: InputFile, rules: Rules) -> Reading:
    """The documents of a file that has a JSON object, a string or null in each line.

    Raises:
        TinyError: the beginning is not JSON, or does not say which key contains the text.
    """
    return _reading(file, rules, _line_values(file))


def read_json(file: InputFile, rules: Rules) -> Reading:
    """The documents of a JSON file: an array of objects, or one object after the other.

    Raises:
        TinyError: as `read_json_lines`.
    """
    return _reading(file, rules, _Values(file).rows())


def read_objects(file: InputFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the value of each object of a JSON file, or of JSON lines; nulls are left out.

    Raises:
        TinyError: this is not JSON, or has values that are no objects.
    """
    for number, _, value in _Values(file).rows() if file.suffix == ".json" else _line_values(file):
        _require_row(value, dict, file, number)
        if value is not None:
            yield number, value


def _reading(file: InputFile, rules: Rules, rows: Iterator[Row]) -> Reading:
    head, rows = beginning(rows, lambda row: row[1], lambda row: row[2] is None)
    objects = [value for _, _, value in head if isinstance(value, dict)]
    strings = sum(isinstance(value, str) for _, _, value in head)
    if strings and not objects and rules.column is None:
        choice = Choice("row", how=f"strings ({100 * strings / len(head):.3g} % of rows)")
    else:
        for number, _, value in head:
            _require_row(value, dict, file, number)
        choice = choose(_columns(objects, len(head)), rules.column, file.name, "key") if objects else Choice("row")
    if choice.names and rules.column is None:
        known = {key for value in objects for key, item in value.items() if item is not None}.union(choice.names)
        rows = _without_surprises(file, rows, choice, known)
    return Reading(FileLook(f"{file.suffix.removeprefix('.')}, {choice.how}"), _items(file, rows, choice))


def _columns(objects: list[dict[str, Any]], rows: int) -> list[Column]:
    """The keys of the first rows. A key that is null in all of them may still contain text."""
    kinds: dict[str, dict[str, None]] = {}
    filled: dict[str, int] = {}
    texts: dict[str, list[str]] = {}
    for value in objects:
        for key, item in value.items():
            found = kinds.setdefault(key, {})
            if item is not None:
                found[_TYPES[type(item)]] = None
            filled[key] = filled.get(key, 0) + (item not in (None, "", []))
            if isinstance(item, str):
                texts.setdefault(key, []).append(item)
    return [
        Column(
            key,
            _kind(key, list(found)),
            filled[key] / rows,
            nested=LIST in found or _OBJECT in found,
            is_prose=are_prose(texts.get(key, ())),
        )
        for key, found in kinds.items()
    ]


def _kind(key: str, found: list[str]) -> str:
    """The type of a key whose values have the types `found`; of several, the one that a row may then lack."""
    if LIST in found and not is_usual(key):
        return LIST
    return TEXT if TEXT in found or not found else " and ".join(found)


def _without_surprises(file: InputFile, rows: Iterator[Row], choice: Choice, known: set[str]) -> Iterator[Row]:
    """The rows, as long as none has text under a key that would have changed the choice.

    Args:
        file: the file, for errors.
        rows: all rows.
        choice: what was chosen by the first of them.
        known: the keys that had values in these.
    """
    for row in rows:
        number, _, value = row
        if isinstance(value, dict) and (choice.only or not value.keys() <= known):
            key = _surprise(value, choice, known)
            if key is not None:
                raise TinyError(
                    f"Line {number} of {file.name} has text under the key {quoted(key)}, unlike the first rows",
                    got=f"{choice.how} by these",
                    remedy="Name the key that contains the text (--text-column)",
                )
        yield row


def _surprise(value: dict[str, Any], choice: Choice, known: set[str]) -> str | None:
    """A key of the row that may contain the text rather than what was chosen."""
    for key, item in value.items():
        if not item or key in choice.names:
            continue
        if (choice.only and isinstance(item, (str, list, dict))) or (key not in known and is_usual(key)):
            return key
    return None


def _items(file: InputFile, rows: Iterator[Row], choice: Choice) -> Iterator[Item]:
    kind: type = dict if choice.names else str
    name = file.name
    for number, _, value in rows:
        if value is None:
            yield None
            continue
        _require_row(value, kind, file, number)
        if kind is str:
            require_no_nul(value, f"Line {number} of {name}")
            yield _encodable(value, file, number)
            continue
        try:
            cells = [value[key] for key in choice.names]
        except KeyError as error:
            raise TinyError(
                f"Line {number} of {file.name} has no key {quoted(error.args[0])}",
                got=f"the keys {listed(value)}" if value else "an empty object",
                remedy="Name the key that contains the text (--text-column), or correct the line",
            ) from error
        item = choice.item(cells, f"Line {number} of {name}")
        yield _encodable(item, file, number)


def _require_row(value: Any, kind: type, file: InputFile, number: int) -> None:
    """Refuse a row that is neither null nor of the type of the others."""
    if value is not None and not isinstance(value, kind):
        raise TinyError(
            f"Line {number} of {file.name} is malformed",
            expected="a JSON object" if kind is dict else "a string as in the other rows",
            got=_TYPES.get(type(value), type(value).__name__),
            remedy="Correct or remove it",
        )


def _encodable(item: Item, file: InputFile, number: int) -> Item:
    """The item, if all its characters can be encoded: JSON can escape half of a surrogate pair."""
    text = item if isinstance(item, str) else item.text() if item else ""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TinyError(
                f"Line {number} of {file.name} is not valid Unicode: it escapes half of a surrogate pair",
                remedy="Correct or remove the line",
            ) from error
    return item


_DECODER = json.JSONDecoder(object_pairs_hook=unique_keys)


def _line_values(file: InputFile) -> Iterator[Row]:
    for number, line in enumerate(read_lines(file), 1):
        if line.isspace():
            continue
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            raise _invalid(file, number, error) from error
        yield number, len(line), value


def _invalid(file: InputFile, number: int, error: Exception) -> TinyError:
    # The message of `json` counts lines within the text that it was given.
    found = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else cut(str(error))
    return TinyError(f"Line {number} of {file.name} is not valid JSON", got=found, remedy="Correct or remove the line")


class _Values:
    """The values of a JSON file, decoded one by one from a text that is read in chunks."""

    def __init__(self, file: InputFile) -> None:
        self._file = file
        self._chunks = read_chunks(file, whole_lines=False)
        self._text = ""
        self._at = 0
        self._line = 1
        """The number of the line in which `_at` is."""

    def rows(self) -> Iterator[Row]:
        """The elements of the array; or, without one, the values in their order."""
        if self._peek() != "[":
            while self._peek():
                yield self._value()
            return
        self._advance(1)
        if self._peek() != "]":
            yield self._value()
            while self._peek() == ",":
                self._advance(1)
                yield self._value()
        if self._peek() != "]":
            raise self._unexpected("a comma or the array's end")
        self._advance(1)
        if self._peek():
            raise self._unexpected("nothing after the array's end")

    def _peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            at = _WHITE_SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            self._advance(at - self._at)
            if at < len(self._text) or not self._read():
                return self._text[at : at + 1]

    def _advance(self, characters: int) -> None:
        self._line += self._text.count("\n", self._at, self._at + characters)
        self._at += characters

    def _read(self) -> bool:
        """Append a chunk of the size of what is left at least; whether there was one."""
        parts = [self._text[self._at :]]
        wanted = len(parts[0])
        while (chunk := next(self._chunks, None)) is not None:
            parts.append(chunk)
            wanted -= len(chunk)
            if wanted <= 0:
                break
        self._text, self._at = "".join(parts), 0
        return len(parts) > 1

    def _value(self) -> Row:
        self._peek()
        number = self._line
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                fault = error
                pos = error.pos if isinstance(error, json.JSONDecodeError) else self._at
                fault_line = number + self._text.count("\n", self._at, pos)
            else:
                size = end - self._at
                # A number at the end of the chunk may go on in the next.
                if end < len(self._text) or not self._read():
                    self._advance(size)
                    return number, size, value
                continue
            if len(self._text) - self._at >= LARGEST_DOCUMENT_BYTES:
                raise too_large(self._file.name, number)
            # Invalid JSON and JSON that is cut at the end of the chunk look alike.
            if not isinstance(fault, json.JSONDecodeError) or not self._read():
                raise _invalid(self._file, fault_line, fault) from fault

    def _unexpected(self, expected: str) -> TinyError:
        return TinyError(
            f"Line {self._line} of {self._file.name} is not valid JSON",
            expected=expected,
            got=repr(self._text[self._at : self._at + 20]),
            remedy="Correct or remove it",
        )
