"""The settings in which configurations differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx_tiny.config import RunConfig
from mlx_tiny.config.presets import usual

ALWAYS_CHOSEN = ("preset", "budget", "seed")
"""Settings of the section `train` that belong to every run, and make it unlike no preset."""
_VOCABULARY_OF_MODEL = ("model", "vocabulary_size")


@dataclass(frozen=True)
class Difference:
    """Something in which runs differ."""

    section: str
    """Of the configuration, such as `train`; or `run`, for what is no setting."""
    name: str
    values: tuple[Any, ...]
    """One for each run, in their order."""


def differences(configs: Sequence[RunConfig]) -> list[Difference]:
    """The settings that are not equal in all configurations, in the order of these."""
    found = []
    as_asked = all(config.model.vocabulary_size == config.data.vocabulary_size for config in configs)
    for section in dataclasses.fields(RunConfig):
        parts = [getattr(config, section.name) for config in configs]
        for setting in dataclasses.fields(parts[0]):
            if not as_asked or (section.name, setting.name) != _VOCABULARY_OF_MODEL:
                values = tuple(getattr(part, setting.name) for part in parts)
                found.append(Difference(section.name, setting.name, values))
    return list(filter(is_real, found))


def unlike_preset(config: RunConfig) -> list[Difference]:
    """The settings that are not as the preset has them."""
    return unlike(usual(config.train.preset), config)


def unlike(base: RunConfig, config: RunConfig) -> list[Difference]:
    """The settings in which a configuration differs from `base`, each with the value of `base` first.

    The model's vocabulary is none of them: it follows from that of the data and from the text.
    """
    apart = {_VOCABULARY_OF_MODEL, *(("train", name) for name in ALWAYS_CHOSEN)}
    return [each for each in differences([base, config]) if (each.section, each.name) not in apart]


def is_real(difference: Difference) -> bool:
    """Whether the values are not all equal."""
    return any(value != difference.values[0] for value in difference.values)


def in_words(value: Any) -> str:
    """The value of a setting as it is told to people."""
    if isinstance(value, tuple):
        value = " ".join(value)
    return "none" if value in (None, "") else str(value)
