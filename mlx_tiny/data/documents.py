"""A document of the corpus: its text, how the text is cleaned, and whether it is used for validation."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from mlx_tiny.errors import TinyError

if TYPE_CHECKING:
    from mlx_tiny.data.columns import Choice

LARGEST_DOCUMENT_BYTES = 1 << 26
"""64 MiB. A document is kept in memory as a whole, and no context is that long."""
SEPARATOR = "<|endoftext|>"
"""Stands between the documents of a text file."""
_USUAL_ROLES = ("system", "developer", "user", "assistant", "tool")
_LISTED, _LISTED_CHARACTERS = 12, 40


Progress = Callable[[str, float, float], None]
"""Is called with a phase ("fetch", "read", "tokenizer", "encode"), the bytes done, and all bytes (0: unknown)."""


class Document(NamedTuple):
    """One text, such as one story. The model never sees the document before it as its context."""

    text: str
    held_out: bool
    """Whether it is validation text."""
    bits: float | None = None
    """Exact information content, where the text was generated."""
    whole: int | None = None
    """`document_hash` of the text of which this is a part, if it is one."""


@dataclass(frozen=True)
class Rules:
    """How files become documents."""

    column: str | None = None
    """Name of the column or key of the text, or its number (from 1) in a table without a header; None finds it."""
    documents: str = "auto"
    """What a document of a text file is: auto, lines, blank-lines, files, whole, or the text of a line between two."""
    header: bool | None = None
    """Whether the first line of a table names its columns; None refuses a first line that may be a row."""
    found: str | None = None
    """With documents auto, what is found in several text files together; None if each tells by itself."""
    tables: Mapping[tuple[str, ...], Choice] = field(default_factory=dict, compare=False, repr=False)
    """What is found in the largest tables, by the names in their headers; it holds for others with these names."""


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
    left_out: list[str] = field(default_factory=list)
    """Files beside the data that are not read, with the way to take them."""
    hows: list[str] = field(default_factory=list)
    """How the files are read, where that is not part of the description of a source."""


@dataclass(frozen=True)
class Chat:
    """A conversation: roles and what they say, in the order of the turns."""

    turns: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """The document: each turn is the marker of its role and its text; nothing else is added."""
        return "".join(f"{marker_text(role)}{content}" for role, content in self.turns)


Item = str | Chat | None
"""What a row of a file gives: a text, a chat, or nothing (null)."""


def marker_text(role: str) -> str:
    """How the marker of a role is written in a text: it stands before each turn of the role."""
    return f"<|{role}|>"


def contains_marker(text: str, roles: Iterable[str] = ()) -> bool:
    """Whether a text contains <|endoftext|> or the marker of a usual role or of one of `roles`."""
    if "<|" not in text:
        return False
    names = "|".join(map(re.escape, {"endoftext", *_USUAL_ROLES, *roles}))
    return re.search(rf"<\|(?:{names})\|>", text) is not None


def clean(text: str, outer: str | None = None) -> str:
    """The text with LF line ends and without the characters `outer` (None: white space) around it."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.strip(outer)


def byte_length(text: str) -> int:
    """UTF-8 bytes of `text`."""
    return len(text) if text.isascii() else len(text.encode())


def listed(names: Iterable[str]) -> str:
    """Names for a message: separated by commas, long ones cut, and only the first of many."""
    names = list(names)
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return ", ".join([*(cut(name, _LISTED_CHARACTERS) for name in names[:_LISTED]), *more])


def cut(text: str, most_characters: int = 200) -> str:
    """A text for a message, on one line and not longer than `most_characters`."""
    text = " ".join(text[: most_characters + 1].split())
    return text if len(text) <= most_characters else f"{text[: most_characters - 3]}..."


def quoted(name: str) -> str:
    """A name for a message, in quotes, and cut if it is long."""
    return repr(cut(name, _LISTED_CHARACTERS))


def require_no_nul(text: str, where: str) -> None:
    """Refuse a text with the character U+0000, which no text contains."""
    if "\0" in text:
        raise TinyError(f"{where} contains the character U+0000", remedy="Remove the character, or the row")


def binary_error(where: str, found: str) -> TinyError:
    """The error for a file that is not text."""
    return TinyError(
        f"{where} is a binary file",
        expected="UTF-8 text",
        got=found,
        remedy="Save it as UTF-8 if it is text in another encoding, such as UTF-16",
    )


def too_large(where: str, line: int) -> TinyError:
    """The error for a document that would not fit in memory."""
    return TinyError(
        f"The document from line {line} of {where} is too large",
        expected=f"at most {LARGEST_DOCUMENT_BYTES} bytes",
        remedy=f"Cut it into several, in a text file by lines of {SEPARATOR}, or say what separates them (--documents)",
    )


def document_hash(text: str) -> int:
    """A number below 2**64, computed from the text alone: it tells documents apart, and decides which are held out."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


class DocumentHash:
    """SHA-256 of documents in their order. The same bytes cut into other documents give another hash."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, text: bytes) -> None:
        self._hash.update(len(text).to_bytes(8, "little"))
        self._hash.update(text)

    def value(self) -> str:
        return self._hash.hexdigest()
