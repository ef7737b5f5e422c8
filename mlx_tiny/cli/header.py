"""The header of a run: what is trained on what, within which budget and where, in five lines and what is unusual."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlx_tiny.cli.options import SECTIONS, flag_name, has_flag, shown
from mlx_tiny.config import ModelConfig, RunConfig

if TYPE_CHECKING:
    from mlx_tiny.data.mixture import Corpus
    from mlx_tiny.machine.state import State
    from mlx_tiny.training.checkpoint import RunFolder

_WITH_A_LINE = {("train", "budget"), ("train", "preset")}
"""Settings that have a line of their own."""


def header(run: RunFolder, corpus: Corpus, reason: str, machine: list[str], at_start: State) -> list[str]:
    """What a run is, in lines for people.

    Args:
        reason: for the preset.
        machine: a line about it, and what is unusual about how it computes.
        at_start: its state, shown where that makes the run slower.
    """
    from mlx_tiny.linux.lanes import on_cpu
    from mlx_tiny.model.parameters import parameter_count, training_flops_per_token
    from mlx_tiny.training.origin import doubts
    from mlx_tiny.units import format_count, format_flops

    config, model = run.config, run.config.model
    disturbances = at_start.disturbances(on_cpu=on_cpu())
    slow = [f"warning: {'; '.join(disturbances)}: this machine may train slower than it can"] if disturbances else []
    changed = ", ".join(_changed(config))
    line, *unusual = machine
    return [
        f"run: {run.path}, with a budget of {_budget(config.train.budget)}",
        f"preset: {config.train.preset} ({reason})",
        f"model: {format_count(parameter_count(model))} parameters, vocabulary {model.vocabulary_size:,}, "
        f"{format_flops(training_flops_per_token(model))} per token; {_portability(model)}",
        f"tokens: {_amounts(corpus, config)}",
        line,
        *([f"unlike the preset: {changed}; all settings are in {run.path / 'config.json'}"] if changed else []),
        *unusual,
        *slow,
        *([] if run.origin is None else doubts(run.origin)),
    ]


def _changed(config: RunConfig) -> Iterator[str]:
    """The settings that are not as the preset has them."""
    from mlx_tiny.config.presets import usual

    standard = usual(config.train.preset)
    for section in SECTIONS:
        settings = getattr(config, section)
        for field in dataclasses.fields(settings):
            value, key = getattr(settings, field.name), (section, field.name)
            differs = value != getattr(getattr(standard, section), field.name)
            if has_flag(*key) and key not in _WITH_A_LINE and differs:
                yield f"{flag_name(*key)[2:]} {shown(value)}"


def _portability(model: ModelConfig) -> str:
    from mlx_tiny.model.portable import obstacles

    found = obstacles(model)
    return f"not portable: {', '.join(found)}" if found else "portable: exact in qwen3"


def _budget(text: str) -> str:
    from mlx_tiny.training.budget import Budget

    beside = " of training; what comes before the first step and after the last is not counted"
    return text + beside * (Budget(text).quantity == "seconds")


def _amounts(corpus: Corpus, config: RunConfig) -> str:
    """How many tokens there are, of all texts together."""
    from mlx_tiny.training.counts import split

    texts = [part.corpus for part in corpus.parts]
    train, valid = (sum(len(getattr(text, name)) for text in texts) for name in ("train", "valid"))
    per_token = sum(text.valid_bytes for text in texts) / (valid - len(texts))
    events = [f", {text.bytes_per_event:.1f} bytes per event" for text in texts if text.bytes_per_event]
    kept = sum(len(split(part, config).kept) for part in corpus.parts)
    part = f", {kept:,} of them counted but not trained on," if kept else ","
    return f"{train:,} for training{part} {valid:,} for validation; {per_token:.2f} bytes per token{''.join(events)}"
