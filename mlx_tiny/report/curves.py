"""How the strength and the speed of a run developed, from the lines of its `metrics.jsonl`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.records import EvaluationRecord, SampleRecord, StepRecord
from mlx_tiny.report.record import Report
from mlx_tiny.training.checkpoint import RunFolder

Floats = NDArray[np.float64]
AXES = ("seconds", "tokens", "flops")
"""What a run has spent, by the names in its records."""


@dataclass(frozen=True)
class Curve:
    """Values over what the run had spent when they were measured."""

    spent: dict[str, Floats]
    """By the names in `AXES`; [n] each, and rising."""
    values: Floats
    """[n]"""

    def smoothed(self, points: int = 60) -> Curve:
        """The means of that many equal parts, or the curve itself where it has no more points."""
        if len(self.values) <= points:
            return self
        return Curve({axis: _means(spent, points) for axis, spent in self.spent.items()}, _means(self.values, points))


@dataclass(frozen=True)
class Curves:
    """The curves of a run, and the texts that it wrote meanwhile."""

    training: Curve
    """Loss of each step in bits per byte, by the bytes that a token of the validation text has."""
    validation: Curve
    """Bits per byte on the validation text, or its beginning; that of the report is where its weights were trained so
    far."""
    tokens_per_s: Curve
    utilisation: Curve
    """Share of the measured peak of matrix products; no points where that was not measured."""
    samples: list[SampleRecord]
    result: dict[str, float]
    """What the run had spent when its weights were those of the report, by the names in `AXES`."""

    @staticmethod
    def of(run: RunFolder, report: Report) -> Curves:
        """Read them from the folder of a run; lines of steps after those of its report are left out.

        Raises:
            TinyError: the metrics cannot be read.
        """
        records = [record for record in run.metrics.read() if record.step <= report.steps]
        steps = list[StepRecord]()
        for record in records:
            if isinstance(record, StepRecord) and record.tokens > (steps[-1].tokens if steps else 0):
                steps.append(record)
        checks = [record for record in records if isinstance(record, EvaluationRecord)]
        seconds, tokens, flops, loss, speed = (
            np.array([getattr(step, name) for step in steps], dtype=float) for name in (*AXES, "loss", "tokens_per_s")
        )
        spent = {"seconds": seconds, "tokens": tokens, "flops": flops}
        result = {"seconds": report.seconds, "tokens": float(report.tokens), "flops": report.flops}
        early = next((step for step in steps if step.step == report.weights_step), None)
        if early is not None and report.weights_from == "best":
            result = {axis: float(getattr(early, axis)) for axis in AXES}
        seen = np.array([check.tokens for check in checks] + [result["tokens"]], dtype=float)
        until = {
            "seconds": np.array([check.seconds for check in checks] + [result["seconds"]]),
            "tokens": seen,
            "flops": np.interp(seen, tokens, flops) if steps else np.array([result["flops"]] * len(seen)),
        }
        strengths = np.array([check.validation_bits_per_byte for check in checks] + [report.bits_per_byte])
        order = np.argsort(seen, kind="stable")
        flops_per_token = np.diff(flops, prepend=0.0) / np.diff(tokens, prepend=0.0)
        known = slice(None) if report.peak_flops_per_s else slice(0)
        return Curves(
            Curve(spent, loss / math.log(2) / bytes_per_token(report)),
            Curve({axis: values[order] for axis, values in until.items()}, strengths[order]),
            Curve(spent, speed),
            Curve(
                {axis: values[known] for axis, values in spent.items()},
                (speed * flops_per_token / (report.peak_flops_per_s or 1.0))[known],
            ),
            [record for record in records if isinstance(record, SampleRecord)],
            result,
        )


def bytes_per_token(report: Report) -> float:
    """Bytes of the validation text per token, as the strength of the report says."""
    if not report.bits_per_byte:  # all was certain, and strength says nothing of bytes
        return (report.evaluated_bytes or report.evaluated_tokens) / report.evaluated_tokens
    return math.log2(report.perplexity_per_token) / report.bits_per_byte


def _means(values: Floats, parts: int) -> Floats:
    return np.array([part.mean() for part in np.array_split(values, parts)])
