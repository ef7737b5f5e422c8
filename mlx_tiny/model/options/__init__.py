"""Options of the architecture: each is a file of this folder, and off by default.

An option has parameters, and changes intermediate results of the forward pass, which `model/forward.py` names. To add
one, write a file here that defines `OPTION`, the same in `reference/options.py`, and a line in the list of
`tests/model/test_options.py`. See CONTRIBUTING.md.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.model.spec import ParameterSpec


class Place(NamedTuple):
    """What an option can read where it changes an intermediate result."""

    parameters: Mapping[str, mx.array]
    """Parameters of the whole model and, in a layer, those of the layer, in the dtype of activations."""
    tokens: mx.array
    """Integers [B, T]."""
    previous: mx.array
    """The token before each, integers [B, T]; V where there is none, as at the beginning of a window."""
    config: ModelConfig
    embedded: mx.array | None = None
    """The input of the first layer [B, T, D], in layers only."""


Change = Callable[[mx.array, Place, float], mx.array]
"""Takes an intermediate result, its place and the option's value; returns what to use instead."""


@dataclass(frozen=True)
class Option:
    """An option of the architecture."""

    summary: str
    """A line about what it does, what its value is, and its source."""
    valid: Callable[[float, ModelConfig], str | None]
    """Takes a value; returns None if it is valid, else what is expected."""
    specs: Callable[[ModelConfig, float], dict[str, ParameterSpec]] = lambda config, value: {}
    changes: Mapping[str, Change] = field(default_factory=dict)
    """By name of the intermediate result, such as "attention.value" or "logits"."""
    multiply_adds_per_token: Callable[[ModelConfig, float], float] = lambda config, value: 0.0
    """Of the forward pass."""
    not_portable: str = ""
    """Why the architecture `qwen3` cannot represent it; empty if it folds into that exactly."""


@dataclass(frozen=True)
class Chosen:
    """An option with its value."""

    name: str
    option: Option
    value: float

    def parameters(self, config: ModelConfig) -> dict[str, ParameterSpec]:
        return self.option.specs(config, self.value)

    def multiply_adds(self, config: ModelConfig) -> float:
        return self.option.multiply_adds_per_token(config, self.value)


@functools.cache
def all_options() -> dict[str, Option]:
    """Every option, by name, which is that of its file."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return {name: importlib.import_module(f"{__name__}.{name}").OPTION for name in names}


@functools.cache
def options_of(config: ModelConfig) -> tuple[Chosen, ...]:
    """The options of a model with their values, in the order of their names.

    Raises:
        TinyError: an unknown option, or a value out of range.
    """
    chosen = []
    for name, value in sorted(config.chosen_options().items()):
        if name not in all_options():
            raise TinyError(f"Unknown option {name!r} of the model", expected=f"one of {', '.join(all_options())}")
        option = all_options()[name]
        if (expected := option.valid(value, config)) is not None:
            raise TinyError(f"The option {name} of the model is out of range", expected=expected, got=f"{value:g}")
        chosen.append(Chosen(name, option, value))
    return tuple(chosen)


@functools.cache
def changed_places(config: ModelConfig) -> frozenset[str]:
    """Names of the intermediate results that the model's options change."""
    return frozenset(name for chosen in options_of(config) for name in chosen.option.changes)


def changed(name: str, array: mx.array, place: Place) -> mx.array:
    """An intermediate result after all options of the model have changed it."""
    for chosen in options_of(place.config):
        if name in chosen.option.changes:
            array = chosen.option.changes[name](array, place, chosen.value)
    return array
