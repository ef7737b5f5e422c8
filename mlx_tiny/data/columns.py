"""Finds the column of a table, or the key of JSON objects, that contains the text, and takes the text from a row."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from mlx_tiny.data.documents import Item, listed, quoted, require_no_nul
from mlx_tiny.data.formats.chats import chat_of_messages, chat_of_pair
from mlx_tiny.errors import TinyError

TEXT_NAMES = ("text", "story", "stories", "content", "document", "doc", "body", "sentence", "article")
TEXT, LIST = "text", "list"
"""The kinds of columns that can be documents: texts, and lists (of messages)."""
INSPECTED_ROWS = 1000
"""The first rows decide which column contains the text; fewer if they have more than `INSPECTED_CHARACTERS`."""
INSPECTED_CHARACTERS = 1 << 23
_MESSAGES, _PAIR = "messages", ("prompt", "completion")
_CHAT_FORM = '{"messages": [{"role": "user", "content": "text"}, ...]}'
_PAIR_FORM = '{"prompt": "text", "completion": "text"}'
_OTHER_CHATS = (
    (("conversations",), _CHAT_FORM),
    (("conversation",), _CHAT_FORM),
    (("instruction", "output"), _PAIR_FORM),
    (("instruction", "response"), _PAIR_FORM),
    (("question", "answer"), _PAIR_FORM),
)
"""Names in other forms of chats (ShareGPT, Alpaca, Dolly), and how the same is written here."""

DIGIT = re.compile(r"\d")
MEASURED = re.compile(r"[\W\d_]*\d[\W\d_]*")
"""A number, date or time: digits and no letters."""
_WORD_OF_DATES = re.compile(
    r"\b(?:(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun)[a-z]*|am|pm|utc|gmt)\b"
    r"|(?<=\d)(?:t|z|am|pm|st|nd|rd|th)(?![a-z])",
    re.IGNORECASE,
)
_FEWEST_TEXTS, _RECURRENCE = 20, 10
"""From so many texts on, fewer different ones than a tenth are categories."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column:
    """What the first rows show of a column."""

    name: str
    kind: str
    """`TEXT`, `LIST`, or the name of another type."""
    filled: float
    """Share of the rows in which it is neither null nor empty."""
    nested: bool = False
    """Whether it contains lists or objects, in which the text may be."""
    is_prose: bool = True
    """Whether its texts may be documents; dates, codes and categories are not; see `are_prose`."""


@dataclass(frozen=True)
class Choice:
    """Where in a row the document is."""

    kind: Literal["text", "messages", "pair", "row"]
    """One text; a list of messages; a prompt and its completion; or the row as a whole."""
    names: tuple[str, ...] = ()
    """The columns, none for the whole row."""
    how: str = "each row is a document"
    """For the user, such as "column 'text' (98 % of rows)"."""
    only: bool = False
    """Whether it was chosen because no other column of the first rows has texts."""

    def item(self, cells: Sequence[Any], where: str) -> Item:
        """The document in the cells of the columns `names`.

        Args:
            cells: the values in the order of `names`.
            where: the place in the file, for errors.

        Raises:
            TinyError: a value is not of the right type.
        """
        if self.kind == "text":
            return _text(cells[0], self.names[0], where)
        if self.kind == "messages":
            return chat_of_messages(cells[0], where)
        prompt, completion = (_text(cell, name, where) for cell, name in zip(cells, self.names, strict=True))
        return None if prompt is None or completion is None else chat_of_pair(prompt, completion)


def choose(columns: Sequence[Column], named: str | None, where: str, what: str, whole_rows: bool = False) -> Choice:
    """Find the column of the text.

    The user's column comes first. Then a column with a usual name, `messages`, `prompt` with `completion`, and the only
    column of texts beside which there are no lists and objects, in this order; dates, codes and categories are no texts
    where there are other columns.

    Args:
        columns: all columns.
        named: the user's column (--text-column).
        where: the file's name, for errors.
        what: "column" or "key".
        whole_rows: whether each row is a document where no column is found, unless the names are those of a chat;
            otherwise that is an error.

    Raises:
        TinyError: no column, several candidates, or one that contains no texts.
    """
    if named is not None:
        return _chosen(_require(named, columns, where, what), columns, where, what)
    usual = [column for column in columns if is_usual(column.name)]
    if len(usual) == 1:
        _require_no_roles(usual[0], columns, where, what)
        return _chosen(usual[0], columns, where, what)
    found = None if usual else _chat(columns, where, what) or _only_text(columns, where, what)
    if found is not None:
        return found
    chat = chat_form(column.name for column in columns)
    if not usual and whole_rows and chat is None:
        return Choice("row")
    raise TinyError(
        f"{where} does not say which {what} contains the text",
        expected=chat or f"one {what} of texts, or one named {', '.join(TEXT_NAMES[:-1])} or {TEXT_NAMES[-1]}",
        got=_listed(columns, what),
        remedy=f"Write the chats so, or name one {what} (--text-column)"
        if chat
        else f"Name the {what} (--text-column)",
    )


def _chat(columns: Sequence[Column], where: str, what: str) -> Choice | None:
    """The columns of a chat, if they have the usual names; that both of a pair are texts is checked in each row."""
    by_name = {column.name.strip().lower(): column for column in columns}
    if _MESSAGES in by_name and by_name[_MESSAGES].kind == LIST:
        return _chosen(by_name[_MESSAGES], columns, where, what)
    if not all(name in by_name for name in _PAIR):
        return None
    names = tuple(by_name[name].name for name in _PAIR)
    return Choice("pair", names, f"{what}s {quoted(names[0])} and {quoted(names[1])} as turns of user and assistant")


def chat_form(names: Iterable[str]) -> str | None:
    """How a chat is written here, where columns have the names of chats of another form."""
    found = {name.strip().lower() for name in names}
    return next((form for others, form in _OTHER_CHATS if found.issuperset(others)), None)


def _only_text(columns: Sequence[Column], where: str, what: str) -> Choice | None:
    texts = [column for column in columns if column.kind == TEXT and column.filled > 0]
    if len(texts) != 1 or any(column.nested for column in columns if column is not texts[0]):
        return None
    if len(columns) > 1 and not texts[0].is_prose:
        return None
    return replace(_chosen(texts[0], columns, where, what), only=True)


def are_prose(texts: Iterable[str]) -> bool:
    """Whether the texts of a column may be documents: they are neither dates or times, nor codes, nor categories.

    Codes are words of ASCII of which most contain digits. Categories recur: of twenty texts or more, fewer than a tenth
    are different.
    """
    texts = [text for text in map(str.strip, texts) if text]
    if not texts:
        return True
    if all(MEASURED.fullmatch(_WORD_OF_DATES.sub("", text)) for text in texts):
        return False
    with_digits = sum(DIGIT.search(text) is not None for text in texts)
    if 2 * with_digits > len(texts) and not any(" " in text or "\n" in text or not text.isascii() for text in texts):
        return False
    return len(texts) < _FEWEST_TEXTS or len(set(texts)) * _RECURRENCE >= len(texts)


def _require_no_roles(column: Column, columns: Sequence[Column], where: str, what: str) -> None:
    """Refuse rows that are messages of a chat: without their roles the text would be half of them."""
    if column.name.strip().lower() == "content" and any(other.name.strip().lower() == "role" for other in columns):
        raise TinyError(
            f"The rows of {where} are messages, and each has to be a chat",
            expected=_CHAT_FORM,
            got=_listed(columns, what),
            remedy=f"Write one such object per chat, or learn no roles (--text-column {column.name.strip()})",
        )


def is_usual(name: str) -> bool:
    """Whether a column of this name usually contains the text."""
    return name.strip().lower() in TEXT_NAMES


def is_known(name: str) -> bool:
    """Whether a column of this name usually contains the text, or a part of a chat."""
    return is_always_text(name) or name.strip().lower() == _MESSAGES


def is_always_text(name: str) -> bool:
    """Whether what stands in a column of this name is text, even if it consists of digits."""
    return is_usual(name) or name.strip().lower() in _PAIR


def beginning(
    rows: Iterator[Row], size: Callable[[Row], int], is_null: Callable[[Row], bool] = lambda row: False
) -> tuple[list[Row], Iterator[Row]]:
    """The first rows, by which the column is chosen, and an iterator over all rows, those included.

    Args:
        rows: all rows.
        size: gives the characters of a row.
        is_null: tells rows that say nothing about the columns; they do not count.
    """
    head: list[Row] = []
    characters = inspected = 0
    for row in rows:
        head.append(row)
        characters += size(row)
        inspected += not is_null(row)
        if inspected >= INSPECTED_ROWS or characters >= INSPECTED_CHARACTERS:
            break
    return head, itertools.chain(head, rows)


def _require(name: str, columns: Sequence[Column], where: str, what: str) -> Column:
    for column in columns:
        if name in (column.name, column.name.strip()):
            return column
    raise TinyError(
        f"{where} has no {what} {quoted(name)}",
        got=_listed(columns, what),
        remedy=f"Name one of the {what}s (--text-column)",
    )


def _chosen(column: Column, columns: Sequence[Column], where: str, what: str) -> Choice:
    """The column as the place of the documents, if its type allows that."""
    share = f"{what} {quoted(column.name)} ({100 * column.filled:.3g} % of rows)"
    if column.kind == TEXT:
        return Choice("text", (column.name,), share)
    if column.kind == LIST and column.name.strip().lower() not in TEXT_NAMES:
        return Choice("messages", (column.name,), f"chats in {share}")
    texts = [other.name for other in columns if other.kind == TEXT]
    raise TinyError(
        f"The {what} {quoted(column.name)} of {where} contains no text",
        got=column.kind,
        remedy=f"Name a {what} of texts (--text-column): {listed(texts) if texts else 'there is none'}",
    )


def _listed(columns: Iterable[Column], what: str) -> str:
    names = [column.name for column in columns]
    return f"the {what}s {listed(names)}" if names else f"no {what}s"


def _text(value: Any, name: str, where: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError as error:
            raise not_utf8(where, name) from error
    if not isinstance(value, str):
        raise TinyError(
            f"{where} has no text under {quoted(name)}",
            got=f"{type(value).__name__} there",
            remedy="Name what contains the text (--text-column), or correct it",
        )
    require_no_nul(value, where)
    return value


def not_utf8(where: str, name: str) -> TinyError:
    """The error for a row in which the column `name` has bytes that are no text."""
    return TinyError(
        f"{where} contains bytes that are not UTF-8 under {quoted(name)}",
        remedy="Write the column as UTF-8, or name another (--text-column)",
    )
