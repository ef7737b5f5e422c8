"""Tells training text from validation text where the user names no validation files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mlx_tiny.data.documents import Document, byte_length, document_hash

FEW_DOCUMENTS = 40
"""Fewer documents are too few to hold out whole ones; the end of each is held out instead."""
MEASURED_BYTES = 200_000
"""Where nothing is held out, strength is measured on this much text at the beginning."""
_SHORTEST_END = 64
"""Characters; of a document with a smaller share at least this is held out, but no more than an eighth."""


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
            "hash": f"{self.share:.3g} of the documents held out by hash",
            "ends": f"few documents: the last {self.share:.3g} of each is held out",
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
                yield from (Document(part, held_out) for part, held_out in ((begin, False), (end, True)) if part)
            else:
                yield Document(text, False)
                if measured < MEASURED_BYTES:
                    part = text if byte_length(text) <= MEASURED_BYTES else text[:MEASURED_BYTES].rstrip()
                    measured += byte_length(part)
                    yield Document(part, True)


def choose_split(texts: Iterable[str], share: float) -> Split:
    """The way to hold out about `share` of the documents; it reads only as many of them as it needs.

    Where no document has a hash below the share, or few documents are too short to be cut, the one with the smallest
    hash is held out.
    """
    if share == 0:
        return Split("none", 0.0)
    count, smallest, can_cut = 0, 1.0, False
    for text in texts:
        count += 1
        smallest = min(smallest, document_hash(text) / 2**64)
        if count >= FEW_DOCUMENTS and smallest < share:
            return Split("hash", share)
        can_cut = can_cut or (count < FEW_DOCUMENTS and cut_end(text, share)[1] != "")
    if count < FEW_DOCUMENTS and can_cut:
        return Split("ends", share)
    return Split("hash", share if smallest < share else math.nextafter(smallest, 1.0))


def cut_end(text: str, share: float) -> tuple[str, str]:
    """Cut about `share` of a text off at its end, at a line end, else at a space, else anywhere.

    Returns:
        The beginning and the end without white space between them; the end is empty in a text of a few characters.
    """
    target = max(round(len(text) * share), min(_SHORTEST_END, len(text) // 8))
    start = max(1, len(text) - target)
    for mark in ("\n", " "):
        at = text.rfind(mark, max(1, start - target), start + 1)
        if at < 0:
            at = text.find(mark, start, start + target // 2)
        if at > 0:
            return text[:at].rstrip(), text[at:].lstrip()
    return text[:start], text[start:]
