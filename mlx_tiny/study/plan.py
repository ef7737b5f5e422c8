"""Which model to train with which budget on which machine.

The rule: measure how many model FLOPs per second a training step reaches on this machine, multiply by the seconds of
the budget, and take the largest preset that can then be trained on at least `TOKENS_PER_PARAMETER` tokens per parameter
(those of the layers' matrices and of the head). The rule rests on a few runs on one machine; every choice can be
overridden.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlx_tiny.config import ModelConfig, RunConfig, TrainConfig
from mlx_tiny.config.presets import AUTO, EVENTS, PRESETS, Preset, preset_called, presets_of, whole_name
from mlx_tiny.errors import TinyError
from mlx_tiny.machine.load import best_look
from mlx_tiny.machine.memory import little_bytes, room_bytes
from mlx_tiny.model.parameters import matrix_parameters, parameter_count, training_flops_per_token
from mlx_tiny.training.backend import Backend, MlxBackend
from mlx_tiny.training.budget import Budget
from mlx_tiny.training.memory import estimate, fitting_micro_batches
from mlx_tiny.units import format_count

# Far below the 20 of Hoffmann et al. 2022 (arXiv 2203.15556): within minutes on TinyStories, `mini` beat `tiny` at 0.95
# tokens per parameter, and `small` lost to `mini` at 0.8 (single runs, benchmarks/LOG.md).
TOKENS_PER_PARAMETER = 0.9
_MEASURED_SECONDS = 0.7

# The amount of text doubles from the least to the most, so that two runs of one budget prepare the same data even if
# their measurements differ. 4.5 bytes per token is more than any vocabulary up to 8192 gives on TinyStories, with
# 2.2 GB of training text.
_LEAST_TEXT_BYTES, _MOST_TEXT_BYTES, _BYTES_PER_TOKEN = 10_000_000, 2_560_000_000, 4.5


def preset_for(name: str, data: Mapping[str, object]) -> str:
    """The whole name of the preset; instead of the default, that of events where the settings of `data` name a schema.

    Raises:
        TinyError: there is no such preset.
    """
    return EVENTS if name == TrainConfig.preset and "schema" in data else whole_name(name)


def summary(preset: Preset) -> str:
    """The shape and size of its model in a line."""
    c = preset.config().model
    return (
        f"{c.layers} layers, width {c.width}, {c.heads} heads, vocabulary {c.vocabulary_size}, "
        f"context {c.context}, {format_count(parameter_count(c))} parameters"
    )


@dataclass(frozen=True)
class Choice:
    """A preset, and the reason why it was chosen."""

    preset: Preset
    reason: str
    tokens: float | None = None
    """Tokens that the budget is expected to be enough for; None where the user named the preset."""


def sparing(config: RunConfig, *, in_parts: bool = True) -> RunConfig | None:
    """The configuration with a batch in the fewest parts with which it takes little of the memory; None if none does.

    Args:
        in_parts: whether the number of parts may be changed, which changes the rounding of sums.
    """
    most = little_bytes()
    if estimate(config).bytes <= most:
        return config
    count = fitting_micro_batches(config, most) if in_parts else None
    return None if count is None else replace(config, train=replace(config.train, micro_batches=count))


def choose(
    name: str,
    budget: Budget,
    measure: Callable[[], float] | None = None,
    fits: Callable[[Preset], bool] | None = None,
) -> Choice:
    """The preset called `name`, or for `auto` the one that fits the budget and takes little of this machine's memory.

    Args:
        name: as `--preset` takes it.
        measure: returns the model FLOPs per second of training; called only where needed. By default
            `measured_flops_per_s`.
        fits: whether a preset fits in memory; asked only for `auto`. By default whether `sparing` gives one.

    Raises:
        TinyError: no such preset, or a budget in steps for `auto`.
    """
    name = whole_name(name)
    if name in PRESETS:
        return Choice(PRESETS[name], "for histories of events" if name == EVENTS else "as asked")
    ladder = presets_of(name.removesuffix(f"-{AUTO}"))
    small = [preset for preset in ladder if (fits or _fits)(preset)]
    if budget.quantity == "tokens":
        return _largest(ladder, small, lambda model: budget.amount, budget.describe())
    if budget.quantity == "flops":
        return _largest_for_flops(ladder, small, budget.amount, budget.describe())
    if budget.quantity == "steps":
        raise TinyError("A budget in steps does not decide the size of the model", remedy="Name it, as --preset mini")
    if not small:  # not even a measurement would fit
        return Choice(ladder[0], "the smallest, because little memory is free")
    rate = (measure or measured_flops_per_s)()
    how = f"{budget.describe()} at a measured {rate / 1e9:,.0f} GFLOP/s of training"
    return _largest_for_flops(ladder, small, rate * budget.amount, how)


def _fits(preset: Preset) -> bool:
    return sparing(preset.config()) is not None


def expected_tokens(budget: Budget, config: RunConfig, measure: Callable[[], float]) -> float:
    """Tokens that the budget is expected to be enough for.

    Args:
        measure: returns the model FLOPs per second of training; called only for a budget in seconds.
    """
    if budget.quantity == "tokens":
        return budget.amount
    if budget.quantity == "steps":
        return budget.amount * config.train.batch_size * config.model.context
    flops = budget.amount if budget.quantity == "flops" else measure() * budget.amount
    return flops / training_flops_per_token(config.model)


def measured_flops_per_s(make_backend: Callable[[RunConfig], Backend] = MlxBackend) -> float:
    """Model FLOPs per second of uncompiled training steps of `mini`, or of `tiny` where `mini` does not fit."""
    configs = [preset_called(name).config() for name in ("mini", "tiny")]
    configs = [replace(config, train=replace(config.train, compile=False)) for config in configs]
    config = next((config for config in configs if estimate(config).bytes <= room_bytes()), configs[-1])
    backend = make_backend(config)
    state = backend.initial_state()
    shape = (config.train.batch_size, config.model.context + 1)
    batch = np.random.default_rng(0).integers(0, config.model.vocabulary_size, shape, dtype=np.int32)
    flops = batch.shape[0] * config.model.context * training_flops_per_token(config.model)

    def look() -> float:
        durations: list[float] = []
        started = time.monotonic()
        while len(durations) < 2 or time.monotonic() - started < _MEASURED_SECONDS:
            before = time.monotonic()
            backend.wait(*backend.step(state, batch, 0.0, 0.0))
            durations.append(time.monotonic() - before)
        return float(flops / min(durations))

    return best_look(look)[0]


def _largest_for_flops(ladder: Sequence[Preset], small: Sequence[Preset], flops: float, description: str) -> Choice:
    return _largest(ladder, small, lambda model: flops / training_flops_per_token(model), description)


def text_bytes(tokens: float) -> int:
    """Bytes of `stories` or `tinystories` to prepare so that training on so many tokens sees no text twice."""
    amount = _LEAST_TEXT_BYTES
    while amount < min(_BYTES_PER_TOKEN * tokens, _MOST_TEXT_BYTES):
        amount *= 2
    return amount


def _largest(
    ladder: Sequence[Preset], small: Sequence[Preset], tokens_for: Callable[[ModelConfig], float], description: str
) -> Choice:
    """The largest preset that can be trained enough, of those that are `small` enough for the memory."""
    models = {preset.name: preset.config().model for preset in ladder}
    enough = [
        preset
        for preset in ladder
        if tokens_for(models[preset.name]) >= TOKENS_PER_PARAMETER * matrix_parameters(models[preset.name])
    ]
    chosen = next((preset for preset in reversed(enough) if preset in small), ladder[0])
    larger = enough[enough.index(chosen) + 1 :] if chosen in enough else enough
    memory = f"; {larger[0].name} would take too much of the memory" if larger else ""
    tokens = tokens_for(models[chosen.name])
    ratio = tokens / matrix_parameters(models[chosen.name])
    return Choice(
        chosen,
        f"{description}: about {tokens / 1e6:.2g}M tokens, {ratio:.2g} per parameter without the embedding{memory}",
        tokens,
    )
