"""How far the strength of a run may lie from that on other texts like its validation text."""

from __future__ import annotations

from typing import Any

from mlx_tiny.data.mixture import Corpus
from mlx_tiny.report.record import Report
from mlx_tiny.training.documents import how_drawn, interval
from mlx_tiny.training.evaluate import documents_of_run
from mlx_tiny.training.outcome import Outcome


def intervals(corpus: Corpus, outcome: Outcome) -> dict[str, Any]:
    """What a report says of them, by the names of its fields; nothing after an interruption."""
    if not outcome.evaluated_whole:
        return {}
    texts = documents_of_run(corpus.parts, outcome.parts)
    found = {"interval_bits_per_byte": interval(texts, [text.blocks.nats for text in texts])}
    mixed = [text.blocks.with_counting_nats for text in texts]
    if outcome.evaluation.with_counting_nats is not None:
        found["interval_with_counting_bits_per_byte"] = interval(texts, [nats for nats in mixed if nats is not None])
    told = {name: list(ends) for name, ends in found.items() if ends is not None}
    return {**told, "interval_by": how_drawn(texts)} if told else {}


def interval_of(report: Report) -> str:
    """The intervals in words; empty where there is none."""
    found = {"": report.interval_bits_per_byte, "with counting ": report.interval_with_counting_bits_per_byte}
    told = [f"{name}{ends[0]:.4f} to {ends[1]:.4f}" for name, ends in found.items() if ends is not None]
    return f"{', '.join(told)} ({report.interval_by}: the noise of the text, not that of the seed)" if told else ""
