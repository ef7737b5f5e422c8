"""Writes small files of any packing, and reads their documents."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

from mlx_tiny.data.documents import Rules, Tally
from mlx_tiny.data.opening import expand
from mlx_tiny.data.readers import look, read_texts


def write(path: Path, content: str | bytes) -> Path:
    """Write `content`, packed as the suffix says; a zip archive gets one member of the name without `.zip`."""
    raw = content if isinstance(content, bytes) else content.encode()
    if path.suffix == ".gz":
        raw = gzip.compress(raw)
    elif path.suffix == ".zst":
        import pyarrow

        raw = pyarrow.compress(raw, codec="zstd", asbytes=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(path.stem, raw)
    else:
        path.write_bytes(raw)
    return path


def write_lines(path: Path, *values: Any) -> Path:
    """Write one line of JSON for each value."""
    return write(path, "".join(f"{json.dumps(value)}\n" for value in values))


def read(path: Path, tally: Tally | None = None, **rules: Any) -> list[str]:
    """The documents of a file, whose beginning is looked at first, as the program does."""
    how(path, **rules)
    count = Tally() if tally is None else tally
    return [text for file in expand(path) for text in read_texts(file, Rules(**rules), count)]


def how(path: Path, **rules: Any) -> str:
    """How the file, or the last member of the archive, becomes documents."""
    return [look(file, Rules(**rules)).how for file in expand(path)][-1]
