"""Reads documents from files: text, JSON lines and tables, each also compressed by gzip."""

from __future__ import annotations

import contextlib
import functools
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from mlx_tiny.data.columns import TEXT_NAMES, choose_column
from mlx_tiny.data.documents import LARGEST_DOCUMENT_BYTES, binary_error, clean, decode_document, too_large
from mlx_tiny.data.tables import read_parquet, read_rows
from mlx_tiny.errors import TinyError
from mlx_tiny.files import explained

SEPARATOR = b"<|endoftext|>"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_BLOCK_BYTES = 1 << 20

Line = tuple[int, int, bytes]
"""Line number (from 1), byte offset, and the line with its line end."""


def supported(path: Path) -> bool:
    """Whether `read_texts` can read the file, judging by its name."""
    return _kind(path) in _READERS


def supported_names() -> str:
    """The supported suffixes, for messages."""
    return ", ".join(f"{suffix}" for suffix in _READERS) + " (each but .parquet also with .gz)"


def read_texts(path: Path, column: str | None) -> Iterator[str]:
    """Yield the documents of a file: outer white space stripped, CRLF made LF, empty ones skipped.

    `.txt` is split at lines that contain only `<|endoftext|>`, or, in a file without such lines, at blank lines;
    `.jsonl` has one object per line; `.csv`, `.tsv` and `.parquet` have one document per row. A byte order mark
    at the beginning is dropped.

    Args:
        path: a file whose name `supported` accepts.
        column: the key or column that contains the text; None finds it.

    Raises:
        TinyError: the file cannot be read, is not text, or is malformed.
    """
    with readable(path), _unpacked(path):
        if path.stat().st_size == 0:
            raise TinyError(f"{path} is empty", remedy="Name a file that contains text")
        for text in _READERS[_kind(path)](path, column):
            if "\0" in text:
                raise binary_error(str(path), "the character U+0000 in a text")
            if text := clean(text):
                yield text


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn a missing permission to read `path` into a TinyError."""
    with explained(path):
        try:
            yield
        except PermissionError as error:
            raise TinyError(f"No permission to read {path}", remedy="Change its permissions (chmod u+r)") from error


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TinyError(
            f"{path} is damaged: it cannot be decompressed as gzip ({error})",
            remedy="Download or compress the file again",
        ) from error


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        inner = suffixes[-2] if len(suffixes) > 1 else ""
        return "" if inner == ".parquet" else inner
    return suffixes[-1] if suffixes else ""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    if path.suffix.lower() != ".gz":
        with open(path, "rb") as file:
            yield file
        return
    with gzip.open(path, "rb") as packed, io.BufferedReader(cast(io.RawIOBase, packed), _BLOCK_BYTES) as file:
        yield cast(BinaryIO, file)


def _lines(path: Path) -> Iterator[Line]:
    """Lines of a file without its byte order mark; a line longer than the largest document is cut."""
    offset = 0
    with _opened(path) as file:
        for number, line in enumerate(iter(functools.partial(file.readline, LARGEST_DOCUMENT_BYTES), b""), 1):
            start = offset
            offset += len(line)
            if start == 0 and line.startswith(_UTF16_MARKS):
                raise binary_error(str(path), "UTF-16")
            if start == 0 and line.startswith(_BYTE_ORDER_MARK):
                start, line = len(_BYTE_ORDER_MARK), line[len(_BYTE_ORDER_MARK) :]
            yield number, start, line


def _read_text(path: Path, column: str | None) -> Iterator[str]:
    is_boundary = _is_separator if _has_separator(path) else _is_blank
    lines: list[bytes] = []
    start = size = 0
    for _, offset, line in _lines(path):
        if is_boundary(line):
            yield decode_document(b"".join(lines), str(path), start)
            lines, size, start = [], 0, offset + len(line)
        else:
            start = start if lines else offset
            lines.append(line)
            size += len(line)
            if size >= LARGEST_DOCUMENT_BYTES:
                raise too_large(str(path), start)
    yield decode_document(b"".join(lines), str(path), start)


def _has_separator(path: Path) -> bool:
    return any(_is_separator(line) for _, _, line in _lines(path))


def _is_separator(line: bytes) -> bool:
    return line.strip() == SEPARATOR


def _is_blank(line: bytes) -> bool:
    return not line.strip()


def _read_json_lines(path: Path, column: str | None) -> Iterator[str]:
    for number, offset, line in _lines(path):
        if not line.strip():
            continue
        where = f"Line {number} of {path}"
        value = _parse_json(decode_document(line, str(path), offset), where)
        if column is None:
            strings = [key for key, item in value.items() if isinstance(item, str)]
            column = choose_column(strings, list(value), str(path), "key")
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


def _read_csv(path: Path, column: str | None, delimiter: str = ",") -> Iterator[str]:
    lines = (decode_document(line, str(path), offset) for _, offset, line in _lines(path))
    return read_rows(lines, path, column, delimiter)


_READERS: dict[str, Callable[[Path, str | None], Iterator[str]]] = {
    ".txt": _read_text,
    ".jsonl": _read_json_lines,
    ".csv": _read_csv,
    ".tsv": functools.partial(_read_csv, delimiter="\t"),
    ".parquet": read_parquet,
}

__all__ = ["SEPARATOR", "TEXT_NAMES", "read_texts", "readable", "supported", "supported_names"]
