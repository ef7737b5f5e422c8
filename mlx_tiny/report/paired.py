"""Whether the difference between runs is more than the noise of the text, by pairs of documents."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.errors import TinyError
from mlx_tiny.study.runs import COUNTING, PLAIN
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.documents import DocumentsOfText, how_drawn, interval, read_documents

Nats = list[NDArray[np.float64]]
"""Of the blocks of each text of a run."""


@dataclass(frozen=True)
class NoiseOfText:
    """The difference of a side to the first one, and where it would be on other texts like this one."""

    name: str
    measure: str
    """`PLAIN` or `COUNTING`."""
    difference: float | None
    """In bits per byte; below 0 where the first side is weaker. None where it is not known by document."""
    interval: tuple[float, float] | None
    """With 95 %; None where there is too little text."""
    verdict: str


def noise_of_text(names: Sequence[str], sides: Sequence[Sequence[RunFolder]]) -> list[NoiseOfText]:
    """The differences of the sides to the first, over the seeds that both have, or over all runs where there are none.

    Args:
        names: of the sides.
        sides: their runs, which were all measured on the same text.
    """
    return [
        found
        for name, side in zip(names[1:], sides[1:], strict=True)
        for found in _noise(name, side, names[0], sides[0])
    ]


def _noise(name: str, side: Sequence[RunFolder], base: str, first: Sequence[RunFolder]) -> Iterator[NoiseOfText]:
    own, theirs = _of_equal_seeds(side, first)
    try:
        texts = [[read_documents(run) for run in runs] for runs in (own, theirs)]
        _require_same_blocks([*texts[0], *texts[1]])
    except TinyError as error:
        unknown = f"How much of the difference between {name} and {base} is noise of the text is not known"
        yield NoiseOfText(name, PLAIN, None, None, f"{unknown}: {error.failed}.")
        return
    mixed = all(text.blocks.with_counting_nats is not None for run in texts[0] + texts[1] for text in run)
    for measure in (PLAIN, COUNTING) if mixed else (PLAIN,):
        means = [_mean([_nats(run, measure) for run in runs]) for runs in texts]
        differences = [ours - other for ours, other in zip(*means, strict=True)]
        documents = texts[0][0]
        ends = interval(documents, [values.astype(np.float32) for values in differences])
        difference = sum(
            text.share * float(values.sum()) / math.log(2) / float(text.blocks.bytes.sum())
            for text, values in zip(documents, differences, strict=True)
        )
        words = _verdict(name, base, ends, documents, " with counting" * (measure == COUNTING))
        yield NoiseOfText(name, measure, difference, ends, words)


def _require_same_blocks(runs: Sequence[Sequence[DocumentsOfText]]) -> None:
    """Refuse files that divide the text otherwise, as those of another version may."""
    for run in runs[1:]:
        for text, first in zip(run, runs[0], strict=True):
            for name in ("document", "bytes"):
                if not np.array_equal(getattr(text.blocks, name), getattr(first.blocks, name)):
                    raise TinyError("The runs divide the text into other documents")


def _of_equal_seeds(
    side: Sequence[RunFolder], first: Sequence[RunFolder]
) -> tuple[Sequence[RunFolder], Sequence[RunFolder]]:
    theirs = {run.config.train.seed: run for run in first}
    own = [run for run in side if run.config.train.seed in theirs]
    return (own, [theirs[run.config.train.seed] for run in own]) if own else (side, first)


def _nats(texts: Sequence[DocumentsOfText], measure: str) -> Nats:
    blocks = [text.blocks for text in texts]
    values = [each.nats if measure == PLAIN else each.with_counting_nats for each in blocks]
    return [np.asarray(value, np.float64) for value in values]


def _mean(runs: Sequence[Nats]) -> Nats:
    """Block by block: a text has the same blocks in all runs, whatever their vocabulary."""
    return [np.mean(text, axis=0) for text in zip(*runs, strict=True)]


def undecided(ends: tuple[float, float]) -> bool:
    """Whether an interval of bits per byte, with the four digits that are shown, leaves open which side is stronger."""
    low, high = (round(end, 4) for end in ends)
    return low <= 0 <= high


def _verdict(
    name: str, base: str, ends: tuple[float, float] | None, documents: Sequence[DocumentsOfText], how: str
) -> str:
    both = f"{name}{how} and {base}{how}"
    if ends is None:
        return f"Of {both} it is not known how much is noise of the text: there is too little text."
    low, high = ends
    evidence = f"95 % interval {low:+.4f} to {high:+.4f} bits per byte, {how_drawn(documents)}"
    if undecided(ends):
        return f"On other texts like this one, {both} may be the other way round: {evidence}."
    stronger = "stronger" if high < 0 else "weaker"
    return f"On other texts like this one, {name}{how} would be {stronger} than {base}{how} too: {evidence}."
