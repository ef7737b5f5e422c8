"""Tells training text from validation text where the user names no validation files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mlx_tiny.data.documents import Document, byte_length, document_hash

_ENOUGH_HELD_OUT = 4
"""Where by hash fewer documents would be held out, about, the end of each is held out, if they are long."""
_LONG_BYTES = 2000
"""Few documents of at least this length on average are long enough for that."""
MEASURED_BYTES = 200_000
"""Where nothing is held out, strength is measured on this much text at the beginning."""
_SHORTEST_END = 64
"""Characters; of a document with a smaller share at least this is held out, but no more than an eighth."""
_NEAR = 100
"""Characters; a word is not cut if there is a space or a line end so near."""
_MARKER = re.compile(r"<\|[^<>|\n]{1,64}\|>")


@dataclass(frozen=True)
class Split:
    """How validation text is chosen."""

    kind: Literal["hash", "ends", "none"]
    share: float
    """Documents whose hash is below this share of all hashes are held out, or this share at the end of each."""

    @property
    def description(self) -> str:
        """In words, for a header."""
        return {
            "hash": "documents held out by a hash of their text",
            "ends": f"few documents: the end of each is held out, about {self.share:.3g} of the text",
            "none": "nothing held out: strength is measured on the beginning of the training text",
        }[self.kind]

    def documents(self, texts: Iterable[tuple[str, int]]) -> Iterator[Document]:
        """The parts of texts that are trained on and the parts that are held out.

        Args:
            texts: each with its `document_hash`.
        """
        measured = 0
        for text, text_hash in texts:
            if self.kind == "hash":
                yield Document(text, text_hash / 2**64 < self.share)
            elif self.kind == "ends":
                begin, end = cut_end(text, self.share)
                parts = ((begin, False), (end, True))
                yield from (Document(part, held_out, whole=text_hash) for part, held_out in parts if part)
            else:
                yield Document(text, False)
                if measured < MEASURED_BYTES:
                    part = text if byte_length(text) <= MEASURED_BYTES else text[:MEASURED_BYTES].rstrip()
                    measured += byte_length(part)
                    yield Document(part, True)


def choose_split(texts: Iterable[str], share: float) -> Split:
    """The way to hold out about `share` of the documents; it reads only as many of them as it needs.

    Of few documents that are not cut, at least those with the smallest hashes are held out: four, but no more than a
    tenth, or one. The one with the largest hash is always trained on.
    """
    if share == 0:
        return Split("none", 0.0)
    enough = math.ceil(_ENOUGH_HELD_OUT / share)
    count, size, largest, chats, can_cut = 0, 0, 0.0, False, False
    smallest = list[float]()  # in their order
    for text in texts:
        number = document_hash(text) / 2**64
        count, largest = count + 1, max(largest, number)
        if number not in smallest and number < max(smallest[_ENOUGH_HELD_OUT - 1 :], default=1.0):
            smallest = sorted([*smallest, number])[:_ENOUGH_HELD_OUT]
        if count >= enough and smallest[0] < share:
            return Split("hash", share)
        if count < enough:
            size += byte_length(text)
            chats = chats or _MARKER.match(text) is not None
            can_cut = can_cut or cut_end(text, share)[1] != ""
    if not count:
        return Split("hash", share)
    few, different = count < enough, smallest[0] < largest
    if few and can_cut and not (different and (chats or size < _LONG_BYTES * count)):
        return Split("ends", share)
    last = smallest[: max(1, count // 10) if few else 1][-1]
    bound = max(share, math.nextafter(last, 1.0))
    return Split("hash", min(bound, largest) if few and different else bound)


def cut_end(text: str, share: float) -> tuple[str, str]:
    """Cut about `share` of a text off at its end, at a line end, else at white space that is near, else anywhere.

    A chat is cut between two turns, and no marker, such as <|user|>, is cut.

    Returns:
        The beginning and the end without white space between them; the end is empty in a text of a few characters.
    """
    target = max(round(len(text) * share), min(_SHORTEST_END, len(text) // 8))
    if target == 0:
        return text, ""
    start = max(1, len(text) - target)
    markers = [found.span() for found in _MARKER.finditer(text)] if "<|" in text else []
    if len(markers) > 1 and markers[0][0] == 0:
        at = min((begin for begin, _ in markers[1:]), key=lambda begin: abs(begin - start))
    else:
        at = _between_words(text, start, target)
        at = next((begin or end for begin, end in markers if begin < at < end), at)
    return text[:at].rstrip(), text[at:].lstrip()


def _between_words(text: str, start: int, target: int) -> int:
    """A place near `start` at a line end, else at white space, else `start`, which `target` characters follow."""
    for marks, near in (("\n", target), (" \n", max(target, _NEAR))):
        at = max(text.rfind(mark, max(1, start - near), start + 1) for mark in marks)
        if at > 0:
            return at
        after = (text.find(mark, start, start + near // 2) for mark in marks)
        at = min((at for at in after if at > 0), default=0)
        if at > 0:
            return at
    return start
