"""Finds out whether the machine slows down while it trains, for example because it gets hot."""

from __future__ import annotations

import time
from collections.abc import Callable

import mlx.core as mx

from mlx_tiny.bench.record import Drift
from mlx_tiny.bench.stream import mapped_stream
from mlx_tiny.bench.worker import MOMENTUM, MULTIPLIER
from mlx_tiny.config import RunConfig
from mlx_tiny.linux.lanes import decide_compilation
from mlx_tiny.machine.state import state
from mlx_tiny.training.step import TrainingStep

THROTTLED_BELOW = 0.90
"""If the last seconds reach less than this share of the first seconds' speed, the machine throttles."""
_ENDS_S = 10.0


def drift(config: RunConfig, seconds: float, clock: Callable[[], float] = time.perf_counter) -> Drift:
    """Train without a pause and compare the last seconds with the first.

    Args:
        seconds: how long to train; ten seconds at each end are compared, or a third of the time if that is less.
        clock: returns the time in seconds.
    """
    step = TrainingStep(config, compiled=decide_compilation(config.train.compile)[0])
    training, stream = step.initial_state(), mapped_stream(config)

    def one() -> None:
        nonlocal training
        training, loss = step(training, stream.next_batch(), MULTIPLIER, MOMENTUM)
        mx.eval(loss, training.arrays())

    one()
    before = state()
    began, ends = clock(), list[float]()
    while not ends or ends[-1] < seconds:
        one()
        ends.append(clock() - began)
    tokens = config.train.batch_size * config.model.context
    window = min(_ENDS_S, seconds / 3)
    first, last = (tokens * _rate(ends, *span) for span in ((0.0, window), (ends[-1] - window, ends[-1])))
    series = [tokens * _rate(ends, float(second), second + 1.0) for second in range(int(ends[-1]))]
    return Drift(ends[-1], window, first, last, last / first, last / first < THROTTLED_BELOW, series, before, state())


def _rate(ends: list[float], start: float, end: float) -> float:
    """Steps per second between two moments; a step that is partly inside counts by that part."""
    steps = 0.0
    for began, ended in zip([0.0, *ends], ends, strict=False):
        inside = min(ended, end) - max(began, start)
        steps += max(0.0, inside) / (ended - began)
    return steps / (end - start)
