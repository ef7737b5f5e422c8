"""A document of the corpus: its text, how the text is cleaned, and whether it is used for validation."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from mlx_tiny.errors import TinyError

LARGEST_DOCUMENT_BYTES = 1 << 26
"""64 MiB. A document is kept in memory as a whole, and no context is that long."""


Progress = Callable[[str, float, float], None]
"""Is called with a phase ("fetch", "read", "tokenizer", "encode"), the bytes done, and all bytes (0: unknown)."""


class Document(NamedTuple):
    """One text, such as one story. The model never sees the document before it as its context."""

    text: str
    held_out: bool
    """Whether it is validation text."""
    bits: float | None = None
    """Exact information content, where the text was generated."""


@dataclass(frozen=True)
class Rules:
    """How files become documents."""

    column: str | None = None
    """Name of the column or key of the text, or its number (from 1) in a table without a header; None finds it."""
    documents: str = "auto"
    """What a document of a text file is: auto, lines, blank-lines, files, whole, or the text of a line between two."""
    header: bool = True
    """Whether the first line of a table names its columns."""


@dataclass
class Tally:
    """What was met while files were read."""

    documents: int = 0
    """Documents that were yielded."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows that gave no document, by the reason."""
    markers: int = 0
    """Documents whose text contains <|endoftext|> or the marker of a role, although it separates nothing there."""
    roles: set[str] = field(default_factory=set)
    """Roles of the chats; their markers <|role|> are in the text."""


def clean(text: str) -> str:
    """The text without outer white space and with LF line ends; inside, nothing else changes."""
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    return text.strip()


def byte_length(text: str) -> int:
    """UTF-8 bytes of `text`."""
    return len(text) if text.isascii() else len(text.encode())


def decode_document(raw: bytes, where: str, offset: int) -> str:
    """Decode UTF-8 strictly.

    Args:
        raw: the document's bytes.
        where: the file's name, for the error.
        offset: of `raw` in its (unpacked) file.

    Raises:
        TinyError: invalid UTF-8, a NUL byte, or too large a document.
    """
    if b"\0" in raw:
        raise binary_error(where, f"a NUL byte at byte {offset + raw.index(0)}")
    if len(raw) >= LARGEST_DOCUMENT_BYTES:
        raise too_large(where, offset)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TinyError(
            f"{where} is not valid UTF-8",
            got=f"byte 0x{raw[error.start]:02X} at byte {offset + error.start}",
            remedy="Save the file as UTF-8",
        ) from error


def binary_error(where: str, found: str) -> TinyError:
    """The error for a file that is not text."""
    return TinyError(
        f"{where} is a binary file",
        expected="UTF-8 text",
        got=found,
        remedy="Save it as UTF-8 if it is text in another encoding, such as UTF-16",
    )


def too_large(where: str, offset: int) -> TinyError:
    """The error for a document that would not fit in memory."""
    return TinyError(
        f"The document at byte {offset} of {where} is too large",
        expected=f"at most {LARGEST_DOCUMENT_BYTES} bytes",
        remedy="Separate the documents by lines of <|endoftext|> or by blank lines",
    )


def document_hash(text: str) -> int:
    """A number below 2**64, computed from the text alone: it tells documents apart, and decides which are held out."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
