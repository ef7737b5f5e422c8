"""Options of the architecture, each a file of this folder, off by default.

An option brings its parameters, and changes intermediate results of the forward pass at the places where
`model/forward.py` asks for it. To add one: a file here that defines `OPTION`, its twin in `reference/options.py`, and a
line in the list that `tests/model/test_options.py` drives through everything. See CONTRIBUTING.md.
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
    """What an option may look at where it changes an intermediate result."""

    parameters: Mapping[str, mx.array]
    """Those of the whole model, and in a layer the layer's, in the type of the activations."""
    tokens: mx.array
    """Integers [B, T]."""
    config: ModelConfig


Change = Callable[[mx.array, Place, float], mx.array]
"""From an intermediate result, its place and the option's value to what goes on instead."""


@dataclass(frozen=True)
class Option:
    """One idea, described once."""

    summary: str
    """For `--options`: what it does, what its value is, and the source."""
    valid: Callable[[float, ModelConfig], str | None]
    """What is expected of its value, where that is not so; else None."""
    specs: Callable[[ModelConfig, float], dict[str, ParameterSpec]] = lambda config, value: {}
    changes: Mapping[str, Change] = field(default_factory=dict)
    """By the name of the intermediate result, as taps know it: "attention.value", "logits"."""
    multiply_adds_per_token: Callable[[ModelConfig, float], float] = lambda config, value: 0.0
    """Of the forward pass."""
    not_portable: str = ""
    """Why it has no place in the architecture `qwen3`; empty where it folds into that exactly."""


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
    """Every option, by the name of its file."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    return {name: importlib.import_module(f"{__name__}.{name}").OPTION for name in names}


@functools.cache
def options_of(config: ModelConfig) -> tuple[Chosen, ...]:
    """The options of a model, in the order of their names.

    Raises:
        TinyError: there is no such option, or its value is out of range.
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
    """An intermediate result after the model's options had their say."""
    for chosen in options_of(place.config):
        if name in chosen.option.changes:
            array = chosen.option.changes[name](array, place, chosen.value)
    return array
