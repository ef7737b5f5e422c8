"""Keeps what one text of a mixture holds out for validation out of the training text of the others."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

from mlx_tiny.data.documents import Document, Progress, document_hash
from mlx_tiny.data.findings import Findings, HashSet, Seen
from mlx_tiny.data.sources import Source
from mlx_tiny.files import hash_text


def disjoint(sources: Sequence[Source]) -> list[Source]:
    """The sources, each without the training documents that another one holds out."""
    if len(sources) < 2:
        return list(sources)
    held_out = list(map(_HeldOut, sources))
    return [_Disjoint(source, [*held_out[:at], *held_out[at + 1 :]]) for at, source in enumerate(sources)]


class _HeldOut:
    """What a source holds out, found when it is first asked for."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def meets(self, document: Document) -> bool:
        """Whether a training document contains text that is held out."""
        whole, cut = self._hashes
        if document.whole is not None:
            return document.whole in whole
        number = document_hash(document.text)
        return number in whole or number in cut

    @cached_property
    def _hashes(self) -> tuple[HashSet, HashSet]:
        """Of the texts that are held out, and of the documents of which they are the ends.

        Both are empty where the source is trained on what it is measured on.
        """
        if self.source.findings(Seen()).trained_on_validation:
            return HashSet(()), HashSet(())
        documents = self.source.documents()
        if self.source.shuffled:  # such a source begins with its validation text
            documents = itertools.takewhile(lambda document: document.held_out, documents)
        texts, cut = [], []
        for document in documents:
            if document.held_out:
                texts.append(document_hash(document.text))
                if document.whole is not None:
                    cut.append(document.whole)
        return HashSet(texts), HashSet(cut)


class _Disjoint:
    """A source without the training documents that others hold out; these are counted."""

    def __init__(self, source: Source, others: list[_HeldOut]) -> None:
        self._source, self._others = source, others
        self.names, self.shuffled, self.schema = source.names, source.shuffled, source.schema

    @property
    def description(self) -> str:
        return self._source.description

    @property
    def size_bytes(self) -> int:
        return self._source.size_bytes

    def make_ready(self, report: Progress) -> None:
        self._source.make_ready(report)

    def fingerprint(self) -> str:
        others = {other.source.fingerprint() for other in self._others}
        return hash_text("disjoint", self._source.fingerprint(), *sorted(others))

    def documents(self, seen: Seen | None = None) -> Iterator[Document]:
        for document in self._source.documents(seen):
            if document.held_out or not any(other.meets(document) for other in self._others):
                yield document
            elif seen is not None:
                seen.in_both += 1

    def findings(self, seen: Seen) -> Findings:
        return replace(self._source.findings(seen), in_both=seen.in_both)
