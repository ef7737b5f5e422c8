"""A file of the user's text, whatever it is packed in."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO, cast

from mlx_tiny.errors import TinyError
from mlx_tiny.files import explained

BLOCK_BYTES = 1 << 20
PACKED_SUFFIXES = (".gz",)


@dataclass(frozen=True)
class InputFile:
    """A file with text, or a member of an archive."""

    path: Path
    member: str | None = None
    """Name of a member of the archive `path`; None for the file itself."""

    @property
    def name(self) -> str:
        """The name for messages."""
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffixes in lower case, such as (".txt", ".gz")."""
        return tuple(suffix.lower() for suffix in PurePath(self.member or self.path.name).suffixes)

    @property
    def packed(self) -> str | None:
        """The suffix of the compression, such as ".gz"."""
        return self.suffixes[-1] if self.suffixes and self.suffixes[-1] in PACKED_SUFFIXES else None

    @property
    def suffix(self) -> str:
        """The suffix of the format, such as ".txt"; empty if there is none."""
        suffixes = self.suffixes[: -1 if self.packed else None]
        return suffixes[-1] if suffixes else ""

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the unpacked bytes.

        Raises:
            TinyError: the file cannot be read or unpacked.
        """
        with readable(self.path), _unpacking(self):
            if self.packed is None:
                with open(self.path, "rb") as file:
                    yield file
                return
            with (
                gzip.open(self.path, "rb") as packed,
                io.BufferedReader(cast(io.RawIOBase, packed), BLOCK_BYTES) as file,
            ):
                yield cast(BinaryIO, file)


def expand(path: Path) -> list[InputFile]:
    """The members of an archive, or the file itself."""
    return [InputFile(path)]


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn a missing permission to read `path` into a TinyError."""
    with explained(path):
        try:
            yield
        except PermissionError as error:
            raise TinyError(f"No permission to read {path}", remedy="Change its permissions (chmod u+r)") from error


@contextlib.contextmanager
def _unpacking(file: InputFile) -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TinyError(
            f"{file.name} is damaged: it cannot be decompressed as gzip ({error})",
            remedy="Download or compress the file again",
        ) from error
