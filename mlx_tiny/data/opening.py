"""A file of the user's text, whatever it is packed in, as bytes and as lines."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import BinaryIO, cast

from mlx_tiny.data.documents import LARGEST_DOCUMENT_BYTES, binary_error, quoted, too_large
from mlx_tiny.errors import TinyError, one_line
from mlx_tiny.files import explained, hash_file

BLOCK_BYTES = 1 << 20
PACKED_SUFFIXES = (".gz", ".zst")
ARCHIVE_SUFFIX = ".zip"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OTHER_ENCODINGS = {
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""The longer marks first."""
_ENCRYPTED = 0x1
_LONGEST_NAME = 240
_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


@dataclass(frozen=True)
class InputFile:
    """A file with text, or a member of an archive."""

    path: Path
    member: str | None = None
    """Name of a member of the archive `path`; None for the file itself."""

    @property
    def name(self) -> str:
        """The name for messages: on one line, and the end of a long one."""
        name = one_line(str(self.path) if self.member is None else f"{self.path}:{self.member}")
        return name if len(name) <= _LONGEST_NAME else f"...{name[3 - _LONGEST_NAME :]}"

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
        """Open the unpacked bytes for reading from the beginning to the end.

        Raises:
            TinyError: the file cannot be read or unpacked.
        """
        with readable(self.path), contextlib.ExitStack() as stack:
            stack.enter_context(self._whole())
            stream = stack.enter_context(_member(self)) if self.member else stack.enter_context(open(self.path, "rb"))
            if self.packed == ".gz":
                stream = cast(BinaryIO, stack.enter_context(gzip.open(stream, "rb")))
            elif self.packed == ".zst":
                stream = stack.enter_context(_unpacked_zstandard(stream))
            yield stream

    @contextlib.contextmanager
    def open_seekable(self) -> Iterator[BinaryIO]:
        """Open the unpacked bytes for reading in any order; what is packed is unpacked into a temporary file."""
        with self.open() as stream:
            if self.member is None and self.packed is None:
                yield stream
                return
            with tempfile.TemporaryFile() as copy:
                shutil.copyfileobj(stream, copy, BLOCK_BYTES)
                copy.seek(0)
                yield cast(BinaryIO, copy)

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """Turn the errors of decompression into one that names the file."""
        try:
            yield
        except _DAMAGED as error:
            raise self._damaged(error) from error
        except NotImplementedError as error:
            raise TinyError(
                f"{self.name} cannot be decompressed by Python ({error})", remedy="Unpack the archive"
            ) from error
        except OSError as error:
            # pyarrow's errors about damaged data have no number, those of the file system have one.
            if error.errno is not None or self.packed != ".zst":
                raise
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> TinyError:
        is_zip = isinstance(error, zipfile.BadZipFile) or (self.member is not None and self.packed is None)
        how = "zip" if is_zip else "Zstandard" if self.packed == ".zst" else "gzip"
        return TinyError(
            f"{self.name} is damaged: it cannot be decompressed as {how} ({str(error)[:200]})",
            remedy="Download or compress the file again",
        )


def expand(path: Path) -> list[InputFile]:
    """The members of an archive in the order of their names, without hidden ones; or the file itself.

    Raises:
        TinyError: the archive cannot be read, or has no members.
    """
    if path.suffix.lower() != ARCHIVE_SUFFIX:
        return [InputFile(path)]
    archive = InputFile(path)
    with readable(path), archive._whole(), zipfile.ZipFile(path) as opened:
        names = sorted(info.filename for info in opened.infolist() if not info.is_dir())
    members = [InputFile(path, name) for name in names if not _is_hidden(name)]
    if not members:
        raise TinyError(f"The archive {archive.name} contains no files", remedy="Name one that contains text")
    twice = next((first.member for first, second in itertools.pairwise(members) if first == second), None)
    if twice is not None:
        raise TinyError(
            f"The archive {archive.name} contains two files of the name {quoted(twice)}",
            remedy="Unpack it, and name the right one",
        )
    return members


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


@contextlib.contextmanager
def _member(file: InputFile) -> Iterator[BinaryIO]:
    assert file.member is not None
    with zipfile.ZipFile(file.path) as archive:
        if archive.getinfo(file.member).flag_bits & _ENCRYPTED:
            raise TinyError(f"{file.name} is encrypted", remedy="Unpack the archive")
        with archive.open(file.member) as stream:
            yield cast(BinaryIO, stream)


@contextlib.contextmanager
def _unpacked_zstandard(stream: BinaryIO) -> Iterator[BinaryIO]:
    try:
        import pyarrow
    except ImportError as error:
        raise TinyError("Files that end in .zst need pyarrow", remedy="Install it (pip install pyarrow)") from error
    with pyarrow.CompressedInputStream(stream, "zstd") as unpacked:
        yield unpacked


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn a missing permission to read `path` into a TinyError."""
    with explained(path):
        try:
            yield
        except PermissionError as error:
            raise TinyError(
                f"No permission to read {InputFile(path).name}", remedy="Change its permissions (chmod u+r)"
            ) from error


def content_hash(path: Path) -> str:
    """`hash_file` for a file of the user."""
    with readable(path):
        return hash_file(path)


def is_empty(file: InputFile) -> bool:
    """Whether the unpacked file has no bytes."""
    with file.open() as stream:
        return not stream.read(1)


def read_lines(file: InputFile) -> Iterator[str]:
    """Yield the lines of a text, each with LF at its end (the last one may lack it)."""
    for chunk in read_chunks(file):
        yield from io.StringIO(chunk, newline="\n")


def read_chunks(file: InputFile, whole_lines: bool = True) -> Iterator[str]:
    """Yield a text in chunks of about `BLOCK_BYTES`.

    A byte order mark at the beginning is dropped. CR LF and CR become LF.

    Args:
        file: the file, packed or not.
        whole_lines: whether each chunk ends with a line; otherwise it may end after any character.

    Raises:
        TinyError: invalid UTF-8, a NUL byte, UTF-16, or a line that is too long.
    """
    line, rest, size = 1, list[bytes](), 0
    for block in _blocks(file):
        end = block.rfind(b"\n") + 1 if whole_lines else _complete(block)
        rest.append(block[:end] if end else block)
        size += len(block)
        if end:
            raw, rest, size = b"".join(rest), [block[end:]], len(block) - end
            yield _decoded(raw, file, line)
            line += raw.count(b"\n")
        elif size >= LARGEST_DOCUMENT_BYTES:
            raise too_large(file.name, line)
    if size:
        yield _decoded(b"".join(rest), file, line)


def _complete(block: bytes) -> int:
    """Bytes of a block up to its last character, which may be cut."""
    start = next(
        (index for index in range(len(block) - 1, max(len(block) - 5, -1), -1) if not _continues(block[index])), None
    )
    if start is None:
        return len(block) if len(block) > 4 else 0
    return start if block[start] >= 0xC0 else len(block)


def _continues(byte: int) -> bool:
    """Whether a byte of UTF-8 is not the first of its character."""
    return byte & 0xC0 == 0x80


def _blocks(file: InputFile) -> Iterator[bytes]:
    """Blocks of bytes in which every line ends with LF."""
    with file.open() as stream:
        block = stream.read(BLOCK_BYTES)
        for mark, encoding in _OTHER_ENCODINGS.items():
            if block.startswith(mark):
                raise binary_error(file.name, encoding)
        block = block.removeprefix(_BYTE_ORDER_MARK)
        while block:
            following = stream.read(BLOCK_BYTES)
            if following and block.endswith(b"\r"):
                # The LF that may follow belongs to it.
                block, following = block[:-1], b"\r" + following
            if b"\r" in block:
                block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            yield block
            block = following


def _decoded(raw: bytes, file: InputFile, line: int) -> str:
    """Decode whole lines, of which the first has the number `line`."""
    nul = raw.find(b"\0")
    if nul >= 0:
        raise binary_error(file.name, f"a NUL byte in line {line + raw.count(bytes([10]), 0, nul)}")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TinyError(
            f"{file.name} is not valid UTF-8",
            got=f"byte 0x{raw[error.start]:02X} in line {line + raw.count(bytes([10]), 0, error.start)}",
            remedy="Save the file as UTF-8; `iconv -f LATIN1 -t UTF-8` rewrites old text of Western Europe",
        ) from error
