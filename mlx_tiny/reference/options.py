"""What a parameter is, and the options of the architecture: the parameters of each, and what it changes.

An option changes intermediate results at the places that `model.py` names as it goes; its value is the number behind
its name in the setting `options`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError


@dataclass(frozen=True)
class Parameter:
    """One array of parameters before it exists."""

    shape: tuple[int, ...]
    rate: str
    """The setting that is its learning rate under AdamW."""
    std: float = 0.0
    """Standard deviation of its first numbers; 0 where it starts as a constant."""
    start: float = 0.0
    """That constant."""
    decays: bool = False
    """Whether AdamW shrinks it."""
    layers: tuple[int, ...] = ()
    """Those that have it, one for each entry of the first axis; none where it belongs to the whole model."""
    blocks: tuple[int, ...] = ()
    """Row counts of the matrices that lie below each other in a layer, which are Muon's; none where it is AdamW's."""


@dataclass(frozen=True)
class Place:
    """What an option sees where it changes an intermediate result."""

    weights: Mapping[str, Tensor]
    """Those of the whole model, and in a layer the layer's."""
    tokens: Tensor
    """Integers [B, T]."""


@dataclass(frozen=True)
class Option:
    """An idea that a model may have or not."""

    parameters: Callable[[ModelConfig, float], dict[str, Parameter]] = lambda config, value: {}
    changes: Mapping[str, Callable[[Tensor, Place, float], Tensor]] = field(default_factory=dict)
    """By the name of the intermediate result: from it, its place and the option's value to what goes on instead."""


def cap(logits_BTV: Tensor, place: Place, limit: float) -> Tensor:
    """Gemma 2 (arXiv 2408.00118): logits within a bound."""
    return limit * torch.tanh(logits_BTV / limit)


def value_tables(config: ModelConfig, count: float) -> dict[str, Parameter]:
    """A table of the vocabulary for each of the last layers, and its gain, which starts at zero."""
    layers = tuple(range(config.layers - int(count), config.layers))
    rows, columns = config.vocabulary_size, config.key_value_heads * config.head_width
    return {
        "value_embedding": Parameter(
            (len(layers), rows, columns), "embedding_rate", std=1.0, decays=True, layers=layers
        ),
        "value_embedding_gain": Parameter((len(layers), 1), "scalar_rate", layers=layers),
    }


def add_to_values(value_BSGK: Tensor, place: Place, count: float) -> Tensor:
    """Modded-nanogpt, nanochat: the token's row of a table, as one more part of its values."""
    if "value_embedding" not in place.weights:
        return value_BSGK
    row_BSX = place.weights["value_embedding"][place.tokens]
    return value_BSGK + place.weights["value_embedding_gain"] * row_BSX.reshape(value_BSGK.shape)


OPTIONS = {
    "logit_soft_cap": Option(changes={"logits": cap}),
    "value_embeddings": Option(value_tables, {"attention.value": add_to_values}),
}


def chosen(config: ModelConfig) -> list[tuple[Option, float]]:
    """The options of a model with their values, in the order of their names.

    Raises:
        TinyError: one that is not known here.
    """
    found = sorted(config.chosen_options().items())
    for name, _ in found:
        if name not in OPTIONS:
            raise TinyError(f"The reference has no option {name!r}", expected=f"one of {', '.join(OPTIONS)}")
    return [(OPTIONS[name], value) for name, value in found]


@dataclass(frozen=True)
class Results:
    """Takes every intermediate result by name: the model's options change it, and it is kept where that is asked."""

    config: ModelConfig
    place: Place
    kept: dict[str, Tensor] | None
    prefix: str = ""

    def __call__(self, name: str, array: Tensor) -> Tensor:
        """What goes on as the result of this name."""
        for option, value in chosen(self.config):
            if name in option.changes:
                array = option.changes[name](array, self.place, value)
        if self.kept is not None:
            self.kept[self.prefix + name] = array
        return array

    def of_layer(self, index: int, layer: Mapping[str, Tensor]) -> Results:
        """The same for a layer, whose names begin with its number."""
        place = Place({**self.place.weights, **layer}, self.place.tokens)
        return Results(self.config, place, self.kept, f"layer.{index}.")
