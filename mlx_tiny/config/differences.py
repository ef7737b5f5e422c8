"""The settings in which configurations differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx_tiny.config import RunConfig


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
    for section in dataclasses.fields(RunConfig):
        parts = [getattr(config, section.name) for config in configs]
        for setting in dataclasses.fields(parts[0]):
            found.append(Difference(section.name, setting.name, tuple(getattr(part, setting.name) for part in parts)))
    return list(filter(is_real, found))


def is_real(difference: Difference) -> bool:
    """Whether the values are not all equal."""
    return any(value != difference.values[0] for value in difference.values)
