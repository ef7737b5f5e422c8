"""Names of data that stay valid: made absolute, and standard input kept as a file."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
from pathlib import Path
from typing import BinaryIO

from mlx_tiny.data.find import NAMED
from mlx_tiny.data.opening import BLOCK_BYTES, readable
from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_write, cache_home, explained, make_folder

STANDARD_INPUT = "-"


def absolute(name: str) -> str:
    """A name that means the same when the run is resumed from another folder; standard input is kept in the cache."""
    if not name:
        raise TinyError("The name of the text is empty", expected="a file, a folder or a glob")
    name = kept(name)
    return name if name in NAMED else str(Path.cwd() / Path(name).expanduser())


def kept(name: str) -> str:
    """A name that can be read several times: standard input or a pipe becomes a file in the cache.

    Raises:
        TinyError: it is empty, or cannot be read.
    """
    if name == STANDARD_INPUT:
        return str(keep_stream(_standard_input()))
    path = Path(name).expanduser()
    if path.exists() and not path.is_file() and not path.is_dir():
        with readable(path), open(path, "rb") as stream:
            return str(keep_stream(stream))
    return name


def keep_stream(stream: BinaryIO) -> Path:
    """Write a stream to the cache, in a file that is named by the hash of its content.

    Returns:
        The file, with the suffix .jsonl or .json if the content begins like that, and otherwise .txt.

    Raises:
        TinyError: the stream is empty.
    """
    folder = make_folder(cache_home() / "sources" / "stdin")
    digest, aside = hashlib.sha256(), folder / f"incoming-{os.getpid()}"
    start = b""
    with atomic_write(aside) as file:
        while block := stream.read(BLOCK_BYTES):
            start = start or block.lstrip()
            digest.update(block)
            file.write(block)
    if not start:
        aside.unlink()
        raise TinyError("Standard input is empty", remedy="Pipe text into the command, or name a file")
    path = folder / f"{digest.hexdigest()[:32]}{_suffix(start)}"
    with explained(path):
        os.replace(aside, path)
    return path


def _suffix(start: bytes) -> str:
    """The suffix of a file that begins so."""
    if re.match(rb"\[\s*[{\"]", start):
        return ".json"
    try:
        return ".jsonl" if isinstance(json.loads(start.partition(b"\n")[0]), dict) else ".txt"
    except ValueError:
        return ".txt"


def _standard_input() -> BinaryIO:
    return getattr(sys.stdin, "buffer", None) or io.BytesIO(sys.stdin.read().encode())
