"""A first pass over the corpus: a fair sample for the tokenizer, and a check that training and validation have text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Document, Progress, byte_length
from mlx_tiny.data.findings import Findings, Seen
from mlx_tiny.data.sources import Source
from mlx_tiny.data.tokenizers.byte_pair import SAMPLE_BYTES
from mlx_tiny.errors import TinyError

_PART_CHARACTERS = 50_000
"""Longer documents are sampled in parts of this length, so that one long book does not fill the whole sample."""
_GOLDEN_RATIO = 0x9E3779B97F4A7C15
"""The fractional part of the golden ratio, times 2**64."""
_REPORT_BYTES = 1 << 20


@dataclass(frozen=True)
class Survey:
    """What the first pass found."""

    sample: list[str]
    """Training text for the tokenizer, in the order of the corpus."""
    documents: Iterator[Document]
    """All documents, from the start."""
    total_bytes: int
    """Bytes of text in `documents`; an estimate for a generated source."""
    source: Source
    seen: Seen
    """What was met; of a generated source as far as `documents` has been read."""

    @property
    def found(self) -> Findings:
        """What is known about the source now."""
        return self.source.findings(self.seen)


def survey(source: Source, config: DataConfig, report: Progress) -> Survey:
    """Sample the training text of `source` for the tokenizer, reading as little as a fair sample needs.

    Raises:
        TinyError: no documents at all, or none for training, or none for validation.
    """
    return _survey_beginning(source) if source.shuffled else _survey_all(source, config, report)


def _survey_beginning(source: Source) -> Survey:
    seen = Seen()
    documents = source.documents(seen)
    beginning: list[Document] = []
    size = 0
    for document in documents:
        beginning.append(document)
        size += 0 if document.held_out else len(document.text)
        if size >= SAMPLE_BYTES:
            break
    sample = [document.text for document in beginning if not document.held_out]
    return Survey(sample, itertools.chain(beginning, documents), source.size_bytes, source, seen)


def _survey_all(source: Source, config: DataConfig, report: Progress) -> Survey:
    sample = _Sample()
    counts, seen = {False: 0, True: 0}, Seen()
    done = reported = 0
    for document in source.documents(seen):
        counts[document.held_out] += 1
        done += byte_length(document.text)
        if not document.held_out:
            sample.add(document.text)
        if done >= reported:
            report("read", done, source.size_bytes)
            reported = done + _REPORT_BYTES
    _require_both_sides(counts, seen, source, config)
    return Survey(sample.texts(), source.documents(), done, source, seen)


class _Sample:
    """A sample spread evenly over a corpus whose length is not known in advance.

    Part i gets the number frac(i * golden ratio); these numbers fill [0, 1) evenly. Parts above a threshold are
    dropped, and the threshold is lowered whenever the sample is too large.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[float, str]] = []
        self._count = self._size = 0
        self._threshold = 1.0

    def add(self, text: str) -> None:
        """Offer a document, in parts if it is long."""
        for start in range(0, len(text), _PART_CHARACTERS):
            number = self._count * _GOLDEN_RATIO % 2**64 / 2**64
            self._count += 1
            if number < self._threshold:
                self._keep(number, text[start : start + _PART_CHARACTERS])

    def texts(self) -> list[str]:
        """The sample: about `SAMPLE_BYTES`, or everything if there is less."""
        while self._size > SAMPLE_BYTES:
            self._lower(0.95)
        return [text for _, text in self._kept]

    def _keep(self, number: float, part: str) -> None:
        self._kept.append((number, part))
        self._size += len(part)
        if self._size > 2 * SAMPLE_BYTES:
            self._lower(0.6)

    def _lower(self, factor: float) -> None:
        self._threshold *= factor
        self._kept = [item for item in self._kept if item[0] < self._threshold]
        self._size = sum(len(text) for _, text in self._kept)


def _require_both_sides(counts: dict[bool, int], seen: Seen, source: Source, config: DataConfig) -> None:
    named = ", ".join(source.names)
    if not any(counts.values()):
        raise _no_documents(named, seen)
    if not counts[True]:
        raise _no_documents(config.validation or f"The validation text beside {named}", seen)
    if counts[False]:
        return
    if seen.in_both:
        raise TinyError(
            f"The training text of {named} is the same as the validation text",
            got=f"{seen.in_both:,} documents, each of which is a validation document too",
            remedy="Name other text for validation (--validation), or none, so that a part is held out; of a mixture, "
            "name only one of two texts that contain the same",
        )
    if config.validation is not None:
        raise _no_documents(named, seen)
    others = [f", such as {note}" for note in source.findings(seen).left_out if "--suffix" in note]
    raise TinyError(
        f"Every document of {named} is held out for validation",
        got=f"a share of {config.held_out} of {counts[True]:,} documents",
        remedy=f"Hold out less (--held-out, 0 for none), give more text{''.join(others)}, or name a validation file "
        "(--validation)",
    )


def _no_documents(name: str, seen: Seen) -> TinyError:
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in seen.tally.skipped.items())
    return TinyError(
        f"{name} contains no documents: all its texts are empty",
        got=skipped or None,
        remedy="Name a file with text",
    )
