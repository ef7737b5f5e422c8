"""Which model to train with which budget on which machine.

The rule: measure how many model FLOPs per second a training step reaches on this machine, multiply by the seconds of
the budget, and take the largest preset that can then be trained on at least `TOKENS_PER_PARAMETER` tokens per parameter
(those of the layers' matrices and of the head). The rule rests on a few runs on one machine; every choice can be
overridden.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlx_tiny.config import ModelConfig, RunConfig, TrainConfig
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


@dataclass(frozen=True)
class Preset:
    """A model size, and the settings that go with it."""

    name: str
    vocabulary_size: int
    model: dict[str, Any]
    batch_size: int
    optimizer: dict[str, Any] = field(default_factory=dict)

    def model_config(self, vocabulary_size: int | None = None) -> ModelConfig:
        """The model, for the vocabulary of the preset or another one."""
        return ModelConfig(vocabulary_size=vocabulary_size or self.vocabulary_size, **self.model)

    def summary(self) -> str:
        """Its shape and size in a line."""
        c = self.model_config()
        return (
            f"{c.layers} layers, width {c.width}, {c.heads} heads, vocabulary {c.vocabulary_size}, "
            f"context {c.context}, {format_count(parameter_count(c))} parameters"
        )

    def config(self) -> RunConfig:
        """A whole configuration: the settings of the preset, and defaults for all others."""
        base = RunConfig()
        return RunConfig(
            data=replace(base.data, vocabulary_size=self.vocabulary_size),
            model=self.model_config(),
            optimizer=replace(base.optimizer, **self.optimizer),
            train=replace(base.train, batch_size=self.batch_size, preset=self.name),
        )


def _size(name: str, layers: int, width: int, head_width: int, vocabulary: int, context: int, batch: int) -> Preset:
    heads = width // head_width
    model = {
        "layers": layers,
        "width": width,
        "heads": heads,
        "key_value_heads": heads,
        "head_width": head_width,
        "hidden": 4 * width,
        "context": context,
    }
    return Preset(name, vocabulary, model, batch)


# In the order of their cost per token.
PRESETS = {
    preset.name: preset
    for preset in (
        _size("tiny", layers=2, width=64, head_width=32, vocabulary=1024, context=128, batch=16),
        _size("mini", layers=4, width=128, head_width=64, vocabulary=2048, context=256, batch=8),
        _size("small", layers=5, width=192, head_width=64, vocabulary=2048, context=256, batch=8),
        _size("base", layers=6, width=256, head_width=64, vocabulary=4096, context=256, batch=16),
        _size("medium", layers=8, width=384, head_width=64, vocabulary=4096, context=512, batch=16),
        _size("large", layers=10, width=512, head_width=64, vocabulary=4096, context=512, batch=32),
    )
}


EVENTS = "events"
"""Name of the preset for histories of events: small tables, whose events are told best by the few before them."""
_TABLE = _size(EVENTS, layers=2, width=64, head_width=32, vocabulary=8192, context=48, batch=32)
# Measured on a table of 10,000 rows, of which each item has few (benchmarks/LOG.md): rows of one table for input and
# output, and strong decay, are what keeps such a model from learning the histories by heart.
_EVENTS = replace(
    _TABLE,
    model={**_TABLE.model, "tied": True},
    optimizer={"embedding_rate": 0.05, "matrix_decay": 0.5, "adamw_decay": 0.5},
)


def named_presets() -> dict[str, Preset]:
    """All presets that `--preset` takes: those for texts in the order of their cost, and that for events."""
    return {**PRESETS, EVENTS: _EVENTS}


def preset_for(name: str, data: Mapping[str, object]) -> str:
    """The preset called `name`; instead of `auto`, that of events where the user's settings of `data` name a schema."""
    return EVENTS if name == TrainConfig.preset and "schema" in data else name


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
        measure: returns the model FLOPs per second of training; called only where needed. By default
            `measured_flops_per_s`.
        fits: whether a preset fits in memory; asked only for `auto`. By default whether `sparing` gives one.

    Raises:
        TinyError: no such preset.
    """
    if name == EVENTS:
        return Choice(_EVENTS, "for histories of events")
    if name != "auto":
        if name not in PRESETS:
            raise TinyError(f"Unknown preset {name!r}", expected=f"auto, {', '.join(named_presets())}")
        return Choice(PRESETS[name], "as asked")
    small = [preset for preset in PRESETS.values() if (fits or _fits)(preset)]
    if budget.quantity == "tokens":
        return _largest(small, lambda preset: budget.amount, budget.describe())
    if budget.quantity == "flops":
        return _largest_for_flops(small, budget.amount, budget.describe())
    if not small:  # not even a measurement would fit
        return Choice(PRESETS["tiny"], "the smallest, because little memory is free")
    rate = (measure or measured_flops_per_s)()
    return _largest_for_flops(
        small, rate * budget.amount, f"{budget.describe()} at a measured {rate / 1e9:,.0f} GFLOP/s of training"
    )


def _fits(preset: Preset) -> bool:
    return sparing(preset.config()) is not None


def expected_tokens(budget: Budget, model: ModelConfig, measure: Callable[[], float]) -> float:
    """Tokens that the budget is expected to be enough for.

    Args:
        measure: returns the model FLOPs per second of training; called only for a budget in seconds.
    """
    if budget.quantity == "tokens":
        return budget.amount
    flops = budget.amount if budget.quantity == "flops" else measure() * budget.amount
    return flops / training_flops_per_token(model)


def measured_flops_per_s(make_backend: Callable[[RunConfig], Backend] = MlxBackend) -> float:
    """Model FLOPs per second of uncompiled training steps of `mini`, or of `tiny` where `mini` does not fit."""
    configs = [PRESETS[name].config() for name in ("mini", "tiny")]
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


def _largest_for_flops(small: list[Preset], flops: float, description: str) -> Choice:
    return _largest(small, lambda preset: flops / training_flops_per_token(preset.model_config()), description)


def text_bytes(tokens: float) -> int:
    """Bytes of `stories` or `tinystories` to prepare so that training on so many tokens sees no text twice."""
    amount = _LEAST_TEXT_BYTES
    while amount < min(_BYTES_PER_TOKEN * tokens, _MOST_TEXT_BYTES):
        amount *= 2
    return amount


def _largest(small: list[Preset], tokens_for: Callable[[Preset], float], description: str) -> Choice:
    """The largest preset that can be trained enough, of those that are `small` enough for the memory."""
    enough = [
        preset
        for preset in PRESETS.values()
        if tokens_for(preset) >= TOKENS_PER_PARAMETER * matrix_parameters(preset.model_config())
    ]
    chosen = next((preset for preset in reversed(enough) if preset in small), next(iter(PRESETS.values())))
    larger = enough[enough.index(chosen) + 1 :] if chosen in enough else enough
    memory = f"; {larger[0].name} would take too much of the memory" if larger else ""
    tokens = tokens_for(chosen)
    ratio = tokens / matrix_parameters(chosen.model_config())
    return Choice(
        chosen,
        f"{description}: about {tokens / 1e6:.2g}M tokens, {ratio:.2g} per parameter without the embedding{memory}",
        tokens,
    )
