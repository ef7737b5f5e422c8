"""Reads documents from files: text, JSON lines and tables, each also compressed by gzip."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_tiny.data.columns import TEXT_NAMES, choose_column
from mlx_tiny.data.documents import (
    LARGEST_DOCUMENT_BYTES,
    Rules,
    Tally,
    binary_error,
    clean,
    decode_document,
    too_large,
)
from mlx_tiny.data.opening import InputFile, readable
from mlx_tiny.data.tables import read_parquet, read_rows
from mlx_tiny.errors import TinyError

SEPARATOR = b"<|endoftext|>"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

Line = tuple[int, int, bytes]
"""Line number (from 1), byte offset, and the line with its line end."""


@dataclass(frozen=True)
class FileLook:
    """What the beginning of a file shows."""

    how: str
    """How its text becomes documents, in one line such as "csv, column 'text'"."""


def supported(path: Path) -> bool:
    """Whether `read_texts` can read the file, judging by its name."""
    file = InputFile(path)
    return file.suffix in _READERS and not (file.packed and file.suffix == ".parquet")


def supported_names() -> str:
    """The supported suffixes, for messages."""
    return ", ".join(f"{suffix}" for suffix in _READERS) + " (each but .parquet also with .gz)"


def look(file: InputFile, rules: Rules) -> FileLook:
    """Find out from the beginning of a file how its text becomes documents.

    Raises:
        TinyError: what `read_texts` would raise at its beginning.
    """
    next(read_texts(file, rules, Tally()), None)
    return FileLook(file.suffix.removeprefix("."))


def read_texts(file: InputFile, rules: Rules, tally: Tally) -> Iterator[str]:
    """Yield the documents of a file: outer white space stripped, CRLF made LF, empty ones skipped.

    `.txt` is split at lines that contain only `<|endoftext|>`, or, in a file without such lines, at blank lines;
    `.jsonl` has one object per line; `.csv`, `.tsv` and `.parquet` have one document per row. A byte order mark
    at the beginning is dropped.

    Args:
        file: a file whose name `supported` accepts.
        rules: how it becomes documents.
        tally: counts what is met.

    Raises:
        TinyError: the file cannot be read, is not text, or is malformed.
    """
    with readable(file.path):
        if file.path.stat().st_size == 0:
            raise TinyError(f"{file.name} is empty", remedy="Name a file that contains text")
        for text in _READERS[file.suffix](file, rules.column):
            if "\0" in text:
                raise binary_error(file.name, "the character U+0000 in a text")
            if text := clean(text):
                tally.documents += 1
                yield text
            else:
                tally.skipped["empty text"] += 1


def _lines(file: InputFile) -> Iterator[Line]:
    """Lines of a file without its byte order mark; a line longer than the largest document is cut."""
    offset = 0
    with file.open() as stream:
        for number, line in enumerate(iter(functools.partial(stream.readline, LARGEST_DOCUMENT_BYTES), b""), 1):
            start = offset
            offset += len(line)
            if start == 0 and line.startswith(_UTF16_MARKS):
                raise binary_error(file.name, "UTF-16")
            if start == 0 and line.startswith(_BYTE_ORDER_MARK):
                start, line = len(_BYTE_ORDER_MARK), line[len(_BYTE_ORDER_MARK) :]
            yield number, start, line


def _read_text(file: InputFile, column: str | None) -> Iterator[str]:
    is_boundary = _is_separator if _has_separator(file) else _is_blank
    lines: list[bytes] = []
    start = size = 0
    for _, offset, line in _lines(file):
        if is_boundary(line):
            yield decode_document(b"".join(lines), file.name, start)
            lines, size, start = [], 0, offset + len(line)
        else:
            start = start if lines else offset
            lines.append(line)
            size += len(line)
            if size >= LARGEST_DOCUMENT_BYTES:
                raise too_large(file.name, start)
    yield decode_document(b"".join(lines), file.name, start)


def _has_separator(file: InputFile) -> bool:
    return any(_is_separator(line) for _, _, line in _lines(file))


def _is_separator(line: bytes) -> bool:
    return line.strip() == SEPARATOR


def _is_blank(line: bytes) -> bool:
    return not line.strip()


def _read_json_lines(file: InputFile, column: str | None) -> Iterator[str]:
    for number, offset, line in _lines(file):
        if not line.strip():
            continue
        where = f"Line {number} of {file.name}"
        value = _parse_json(decode_document(line, file.name, offset), where)
        if column is None:
            strings = [key for key, item in value.items() if isinstance(item, str)]
            column = choose_column(strings, list(value), file.name, "key")
        yield _string_at(value, column, where)


def _parse_json(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line.rstrip("\r\n"))
    except (ValueError, RecursionError) as error:
        # The message of `json` counts lines within the text that it was given, which is one line.
        found = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise TinyError(f"{where} is not valid JSON", got=found, remedy="Correct or remove the line") from error
    if not isinstance(value, dict):
        raise TinyError(f"{where} is malformed", expected="a JSON object", got=type(value).__name__)
    return value


def _string_at(value: dict[str, Any], column: str, where: str) -> str:
    text = value.get(column)
    if not isinstance(text, str):
        found = f"the keys {', '.join(value)}" if column not in value else f"{type(text).__name__} there"
        raise TinyError(
            f"{where} has no text under the key {column!r}",
            got=found if value else "an empty object",
            remedy="Name the key that contains the text (--text-column), or correct the line",
        )
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TinyError(f"{where} is not valid Unicode: it escapes half of a surrogate pair") from error
    return text


def _read_csv(file: InputFile, column: str | None, delimiter: str = ",") -> Iterator[str]:
    lines = (decode_document(line, file.name, offset) for _, offset, line in _lines(file))
    return read_rows(lines, file.path, column, delimiter)


_READERS: dict[str, Callable[[InputFile, str | None], Iterator[str]]] = {
    ".txt": _read_text,
    ".jsonl": _read_json_lines,
    ".csv": _read_csv,
    ".tsv": functools.partial(_read_csv, delimiter="\t"),
    ".parquet": lambda file, column: read_parquet(file.path, column),
}

__all__ = ["SEPARATOR", "TEXT_NAMES", "FileLook", "look", "read_texts", "supported", "supported_names"]
