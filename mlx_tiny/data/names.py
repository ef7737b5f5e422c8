"""Names of data that stay valid: made absolute, and standard input kept as a file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

from mlx_tiny.data.find import DATA_SUFFIXES, NAMED, normalised_suffix
from mlx_tiny.data.opening import BLOCK_BYTES, readable
from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_write, cache_home, expanded, explained, folder_aside, make_folder, remove_leftovers
from mlx_tiny.units import format_bytes

STANDARD_INPUT = "-"
_MOST_BYTES = 16 * 10**9
"""Of a stream, because a device may never end; a larger text can be a file."""


def absolute(name: str, suffixes: tuple[str, ...] = (), *, table: bool = False) -> str:
    """A name that means the same when the run is resumed from another folder; standard input is kept in the cache."""
    if not name:
        raise TinyError("The name of the text is empty", expected="a file, a folder or a glob")
    name = kept(name, suffixes, table=table)
    return name if name in NAMED else str(Path.cwd() / expanded(name))


def kept(name: str, suffixes: tuple[str, ...] = (), *, table: bool = False) -> str:
    """A name that can be read several times: standard input or a pipe becomes a file in the cache.

    Args:
        suffixes: the values of `--suffix`; a single one says what standard input contains.
        table: it contains events, so that what does not begin like JSON is a table with delimiters.

    Raises:
        TinyError: it is empty, or cannot be read.
    """
    asked = normalised_suffix(suffixes[0]) if len(suffixes) == 1 else None
    if name == STANDARD_INPUT:
        return str(keep_stream(_standard_input(), asked, table=table))
    path = expanded(name)
    if path.exists() and not path.is_file() and not path.is_dir():
        own = path.suffix.lower()
        with readable(path), open(path, "rb") as stream:
            return str(keep_stream(stream, own if own in DATA_SUFFIXES else asked, table=table))
    return name


def keep_stream(stream: BinaryIO, suffix: str | None = None, *, table: bool = False) -> Path:
    """Write a stream to the cache, in a file that is named by the hash of its content.

    Args:
        suffix: of the file; without it, .jsonl or .json if the content begins like that, and otherwise .txt.
        table: .csv instead of .txt, whose delimiter is found by looking.

    Raises:
        TinyError: the stream is empty, or larger than 16 GB or half of what is free on the disk.
    """
    folder = make_folder(_streams())
    remove_leftovers(folder)
    digest, start, size = hashlib.sha256(), b"", 0
    most_bytes = min(_MOST_BYTES, shutil.disk_usage(folder).free // 2)
    aside = folder_aside(folder / "incoming")
    try:
        with atomic_write(aside / "text") as file:
            while block := stream.read(BLOCK_BYTES):
                size += len(block)
                if size > most_bytes:
                    raise TinyError(
                        "Standard input or a pipe has more text than is kept in the cache",
                        expected=f"at most {format_bytes(most_bytes)}",
                        remedy="Save it to a file and name that file, or free space on the disk (MLX_TINY_HOME)",
                    )
                start = start or block.lstrip()
                digest.update(block)
                file.write(block)
        if not start:
            raise TinyError("Standard input is empty", remedy="Pipe text into the command, or name a file")
        path = folder / f"{digest.hexdigest()[:32]}{suffix or _suffix(start, '.csv' if table else '.txt')}"
        with explained(path):
            os.replace(aside / "text", path)
        return path
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def is_kept_stream(path: Path) -> bool:
    """Whether a file contains what came from standard input or a pipe."""
    return path.parent == _streams()


def _streams() -> Path:
    return cache_home() / "sources" / "stdin"


def _suffix(start: bytes, otherwise: str) -> str:
    """The suffix of a file that begins so. What begins like a JSON object and is none does not become `otherwise`."""
    text = start.decode("utf-8-sig", "replace").lstrip()
    if re.match(r'\[\s*([{"]|null\b)', text):
        return ".json"
    text = re.sub(r"^(null\s+)+", "", text)
    if not re.match(r'\{\s*("([^"\\]|\\.)*"\s*:|\}\s)', text):
        return otherwise
    try:
        json.loads(re.split(r"[\r\n]", text, maxsplit=1)[0])
    except (ValueError, RecursionError):
        return ".json"
    return ".jsonl"


def _standard_input() -> BinaryIO:
    return getattr(sys.stdin, "buffer", None) or io.BytesIO(sys.stdin.read().encode())
