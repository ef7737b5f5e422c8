"""`bench step`: the training step of a preset compared with PyTorch; each has a process of its own and takes turns."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import mlx.core as mx
import numpy as np

from mlx_tiny.bench.competitor import Competitor
from mlx_tiny.bench.folder import temporary_folder
from mlx_tiny.bench.launches import mac, step_launches
from mlx_tiny.bench.record import FAILED, LEFT_OUT, WRONG, Result
from mlx_tiny.bench.runners import why_no_torch
from mlx_tiny.bench.timing import interleaved, speed_ups
from mlx_tiny.bench.weights import nonzero_weights
from mlx_tiny.bench.worker import COMPETITORS, MOMENTUM, MULTIPLIER, OURS, batches, on_cores
from mlx_tiny.config import RunConfig
from mlx_tiny.config.presets import preset_called
from mlx_tiny.errors import TinyError
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.tolerances import bounds
from mlx_tiny.tools.statistics import Spread
from mlx_tiny.training.step import TrainingState, TrainingStep, fresh_state, step_implementations

_CHECKED_STEPS = 3
# A turn takes at least this long, so that the time to switch is negligible.
_TURN_S = 0.3
LONGEST_S = 10.0
"""Longer steps are left out, because all competitors and rounds together would take minutes."""


def run(
    preset_names: Iterable[str],
    dtype: str,
    peaks: Peaks,
    *,
    seconds: float = 3.0,
    change: Callable[[RunConfig], RunConfig] = lambda config: config,
    competitors: Iterable[str] = tuple(COMPETITORS),
    cores: Iterable[int] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[list[Result]]:
    """Yield the results of each preset, one per competitor, which are checked before they are timed.

    Args:
        dtype: of activations.
        peaks: measured in the same run.
        seconds: about how long to measure each competitor.
        change: changes the configuration of a preset.
        competitors: names in `worker.COMPETITORS`.
        cores: numbers of cores; mlx_tiny is then compared on these, instead of the competitors.

    Raises:
        TinyError: an unknown preset.
    """
    chosen: dict[str, tuple[str, int | None]] = {name: (name, None) for name in competitors}
    if counts := list(cores):
        chosen = {on_cores(count): (OURS, count) for count in sorted({1, *counts})}
    for name in list(preset_names):
        config = preset_called(name).config()
        config = change(replace(config, train=replace(config.train, dtype=dtype)))
        tell(f"training step, {name} ({shape_of(config)})")
        yield measure(config, peaks, seconds=seconds, competitors=chosen)


def shape_of(config: RunConfig) -> str:
    """The dimensions of a step, in the letters of `model/forward.py`."""
    c = config.model
    return (
        f"B{config.train.batch_size} T{c.context} L{c.layers} D{c.width} H{c.heads} G{c.key_value_heads} "
        f"K{c.head_width} F{c.hidden} V{c.vocabulary_size} {config.optimizer.matrix_optimizer}"
    )


def measure(
    config: RunConfig, peaks: Peaks, *, seconds: float, competitors: dict[str, tuple[str, int | None]]
) -> list[Result]:
    """The results of a configuration, one per competitor; if it cannot run, with a reason.

    Args:
        competitors: by name in the results: a name in `worker.COMPETITORS`, and the number of cores to use.
    """
    tokens = config.train.batch_size * config.model.context
    flops = tokens * training_flops_per_token(config.model)
    least_s = flops / peaks.matmul_flops_per_s[config.train.dtype]
    results = {
        name: Result(
            "step",
            config.train.preset,
            shape_of(config),
            config.train.dtype,
            name,
            flops=flops,
            tokens=tokens,
            bound_s=least_s,
            bound_by="compute",
        )
        for name in competitors
    }
    if least_s > LONGEST_S:
        why = f"left out: no step could take less than {least_s:.0f} s here"
        return [result.without_time(LEFT_OUT, why) for result in results.values()]
    weights = nonzero_weights(config.model)
    with temporary_folder() as folder, contextlib.ExitStack() as stack:
        np.savez(folder / "weights.npz", **weights)  # type: ignore[arg-type]

        def start(name: str) -> Competitor:
            competitor, cores = competitors[name]
            paths = folder / "weights.npz", folder / f"{name}.log"
            return stack.enter_context(Competitor(competitor, config, *paths, products=peaks.products, cores=cores))

        running = _prepared(config, results, weights, start)
        _time(running, results, seconds)
    for name, result in results.items():
        if name.startswith(OURS) and result.time_s is not None:
            results[name] = replace(result, launches=_launches(config))
    return list(results.values())


def _prepared(
    config: RunConfig, results: dict[str, Result], weights: dict[str, np.ndarray], start: Callable[[str], Competitor]
) -> dict[str, Competitor]:
    """The competitors whose first losses are right, after a warm-up."""
    expected = expected_losses(config, weights, batches(config)[:_CHECKED_STEPS], MULTIPLIER, MOMENTUM)
    without_torch = why_no_torch()
    running: dict[str, Competitor] = {}
    for name, result in list(results.items()):
        if not name.startswith(OURS) and without_torch is not None:
            results[name] = result.without_time(LEFT_OUT, without_torch)
            continue
        # One after the other, so that compilation of one does not disturb the first steps of another.
        competitor = start(name)
        try:
            competitor.prepared()
            _, losses = competitor.take(_CHECKED_STEPS)
            competitor.take(1)
        except TinyError as error:
            results[name] = result.without_time(FAILED, f"failed: {error.failed}")
            continue
        excess = bounds("step losses", config.train.dtype).excess(losses, expected)
        results[name] = replace(result, description=competitor.description, error=excess)
        if not excess <= 1:
            away = f"{excess:.1f} times as far from those of plain operations as is allowed"
            results[name] = results[name].without_time(WRONG, f"wrong: its first losses are {away}")
            continue
        running[name] = competitor
    return running


def _time(running: dict[str, Competitor], results: dict[str, Result], seconds: float) -> None:
    """Time the competitors in turn; if one fails, it gets a reason, and the others continue."""
    turns: dict[str, int] = {}
    taken: dict[str, list[float]] = {name: [] for name in running}

    def take(name: str, steps: int) -> float:
        if name not in taken:
            return 0.0
        try:
            return running[name].take(steps)[0]
        except TinyError as error:
            del taken[name]
            why = f"failed while it was timed: {error.failed}"
            results[name] = results[name].without_time(FAILED, why)
            return 0.0

    def turn(name: str) -> None:
        duration = take(name, turns[name])
        if name in taken:
            taken[name].append(duration / turns[name])

    for name in running:
        turns[name] = max(1, round(_TURN_S / max(take(name, 1), 1e-6)))
    if taken:
        interleaved({name: functools.partial(turn, name) for name in running}, seconds=seconds * len(taken))
    for name in taken:
        speed_up, memory = speed_ups(taken, name, running), running[name].peak_memory_bytes
        results[name] = results[name].timed(Spread.of(taken[name]), speed_up, memory)


def _launches(config: RunConfig) -> int:
    """Launches on a GPU per step."""
    step = TrainingStep(config, compiled=False, implementations=step_implementations(config, device=mac()))

    def take(state: TrainingState, batch: np.ndarray) -> list[mx.array]:
        changed, loss = step(state, batch, MULTIPLIER, MOMENTUM)
        return [loss, *changed.arrays()]

    return step_launches(config, take)


def expected_losses(
    config: RunConfig, weights: dict[str, np.ndarray], tokens: Sequence[np.ndarray], multiplier: float, momentum: float
) -> list[float]:
    """The losses of the first steps, one per batch, by plain operations in float32, uncompiled.

    Gradients come from MLX, so that `cpu` and `metal` code is not checked against itself. The optimizer is that of the
    step, but the competitors in PyTorch have their own, and must give the same losses.
    """
    train = replace(config.train, implementation="plain", dtype="float32", micro_batches=1)
    config = replace(config, train=train)
    step, losses = TrainingStep(config, compiled=False), list[float]()
    state = TrainingState({name: mx.array(array) for name, array in weights.items()}, fresh_state(config).optimizer)
    for batch in tokens:
        state, loss = step(state, batch, multiplier, momentum)
        mx.eval(loss, state.arrays())
        losses.append(float(loss))
    return losses
