"""The header of a run: what is trained on what, within which budget and where, in five lines and what is unusual."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlx_tiny.cli.options import flag_name
from mlx_tiny.config import ModelConfig, RunConfig
from mlx_tiny.config.differences import in_words, unlike_preset

if TYPE_CHECKING:
    from mlx_tiny.data.mixture import Corpus
    from mlx_tiny.machine.state import State
    from mlx_tiny.training.checkpoint import RunFolder


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
    unlike = ", ".join(
        f"{flag_name(each.section, each.name)[2:]} {in_words(each.values[1])}" for each in unlike_preset(config)
    )
    line, *unusual = machine
    return [
        f"run: {run.path}, with a budget of {_budget(config.train.budget)}",
        f"preset: {config.train.preset} ({reason})",
        f"model: {format_count(parameter_count(model))} parameters, vocabulary {model.vocabulary_size:,}, "
        f"{format_flops(training_flops_per_token(model))} per token; {_portability(model)}",
        f"tokens: {_amounts(corpus, config)}",
        line,
        *([f"unlike the preset: {unlike}; all settings are in {run.path / 'config.json'}"] if unlike else []),
        *unusual,
        *slow,
        *([] if run.origin is None else doubts(run.origin)),
    ]


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
