"""Descriptions of parameters, and the options of the architecture: their parameters, and what they change.

An option changes intermediate results, which `model.py` names. Its value is the number after its name in the setting
`options`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError


@dataclass(frozen=True)
class Parameter:
    """Description of an array of parameters."""

    shape: tuple[int, ...]
    rate: str
    """Name of the setting with its learning rate under AdamW."""
    std: float = 0.0
    """Standard deviation at the start; 0 if it starts as a constant."""
    start: float = 0.0
    """Its value at the start if `std` is 0."""
    decays: bool = False
    """Whether AdamW applies weight decay."""
    layers: tuple[int, ...] = ()
    """The layers that have it, one per entry of the first axis; empty if it belongs to the whole model."""
    blocks: tuple[int, ...] = ()
    """Rows of each of the matrices in a layer, which Muon trains; empty if AdamW trains it."""


@dataclass(frozen=True)
class Place:
    """What an option can read where it changes an intermediate result."""

    weights: Mapping[str, Tensor]
    """Parameters of the whole model and, in a layer, those of the layer."""
    tokens: Tensor
    """Integers [B, T]."""
    epsilon: float
    """Of norms."""
    embedded: Tensor | None = None
    """The input of the first layer [B, T, D], in layers only."""


@dataclass(frozen=True)
class Option:
    """An option of the architecture."""

    parameters: Callable[[ModelConfig, float], dict[str, Parameter]] = lambda config, value: {}
    changes: Mapping[str, Callable[[Tensor, Place, float], Tensor]] = field(default_factory=dict)
    """By name of the intermediate result: takes it, its place and the option's value; returns what to use instead."""


def cap(logits_BTV: Tensor, place: Place, limit: float) -> Tensor:
    """Logits between -limit and limit (Gemma 2, arXiv 2408.00118)."""
    return limit * torch.tanh(logits_BTV / limit)


def value_tables(config: ModelConfig, count: float) -> dict[str, Parameter]:
    """For each of the last layers a row per token of the vocabulary, and a gain that starts at zero."""
    layers = tuple(range(config.layers - int(count), config.layers))
    rows, columns = config.vocabulary_size, config.key_value_heads * config.head_width
    return {
        "value_embedding": Parameter(
            (len(layers), rows, columns), "embedding_rate", std=1.0, decays=True, layers=layers
        ),
        "value_embedding_gain": Parameter((len(layers), 1), "scalar_rate", layers=layers),
    }


def add_to_values(value_BSGK: Tensor, place: Place, count: float) -> Tensor:
    """The values, plus the gain times the row of the token (as in modded-nanogpt and nanochat)."""
    if "value_embedding" not in place.weights:
        return value_BSGK
    row_BSX = place.weights["value_embedding"][place.tokens]
    return value_BSGK + place.weights["value_embedding_gain"] * row_BSX.reshape(value_BSGK.shape)


def bigram_table(config: ModelConfig, rows: float) -> dict[str, Parameter]:
    """So many rows for all pairs of tokens, and a gain per channel that starts at zero."""
    return {
        "bigram_embedding": Parameter((int(rows), config.width), "embedding_rate", std=1.0, decays=True),
        "bigram_gain": Parameter((config.width,), "scalar_rate"),
    }


def add_row_of_pair(x_BTD: Tensor, place: Place, rows: float) -> Tensor:
    """The input, plus the gain times the row that a hash gives to a token and the one before it."""
    pair_BT = (27191 * previous_tokens(place)) ^ (36313 * place.tokens)
    return x_BTD + place.weights["bigram_gain"] * place.weights["bigram_embedding"][pair_BT % int(rows)]


def skip_shares(config: ModelConfig, _: float) -> dict[str, Parameter]:
    """A share per layer and channel that starts at zero."""
    everywhere = tuple(range(config.layers))
    return {"input_skip_share": Parameter((config.layers, config.width), "scalar_rate", layers=everywhere)}


def add_input(x_BTD: Tensor, place: Place, _: float) -> Tensor:
    """The result of a layer, plus the share of the first layer's input."""
    assert place.embedded is not None
    return x_BTD + place.weights["input_skip_share"] * place.embedded


def share(config: ModelConfig, _: float) -> dict[str, Parameter]:
    """A share per channel that starts at zero."""
    return {"smear_share": Parameter((config.width,), "scalar_rate")}


def add_previous(x_BTD: Tensor, place: Place, _: float) -> Tensor:
    """The input, plus the share of the normalised embedding of the token before, where there is one."""
    row_BTD = place.weights["embedding"][place.tokens[:, :-1]].to(torch.promote_types(x_BTD.dtype, torch.float32))
    row_BTD = row_BTD / torch.sqrt((row_BTD * row_BTD).mean(dim=-1, keepdim=True) + place.epsilon)
    row_BTD = torch.nn.functional.pad(row_BTD.to(x_BTD.dtype), (0, 0, 1, 0))
    return x_BTD + place.weights["smear_share"] * row_BTD


def previous_tokens(place: Place) -> Tensor:
    """The token before each, integers [B, T]; the first one has the number of tokens in the vocabulary instead."""
    return torch.nn.functional.pad(place.tokens[:, :-1], (1, 0), value=len(place.weights["embedding"]))


OPTIONS = {
    "bigram_embedding": Option(bigram_table, {"embedded": add_row_of_pair}),
    "input_skip": Option(skip_shares, {"after_mlp": add_input}),
    "logit_soft_cap": Option(changes={"logits": cap}),
    "smear": Option(share, {"embedded": add_previous}),
    "value_embeddings": Option(value_tables, {"attention.value": add_to_values}),
}


def chosen(config: ModelConfig) -> list[tuple[Option, float]]:
    """The options of a model with their values, in the order of their names.

    Raises:
        TinyError: an unknown option.
    """
    found = sorted(config.chosen_options().items())
    for name, _ in found:
        if name not in OPTIONS:
            raise TinyError(f"The reference has no option {name!r}", expected=f"one of {', '.join(OPTIONS)}")
    return [(OPTIONS[name], value) for name, value in found]


@dataclass(frozen=True)
class Results:
    """Takes every intermediate result, applies the model's options, and keeps the result in `kept`, if given."""

    config: ModelConfig
    place: Place
    kept: dict[str, Tensor] | None
    prefix: str = ""

    def __call__(self, name: str, array: Tensor) -> Tensor:
        """The result after the options, to be used from here on."""
        for option, value in chosen(self.config):
            if name in option.changes:
                array = option.changes[name](array, self.place, value)
        if self.kept is not None:
            self.kept[self.prefix + name] = array
        return array

    def of_layer(self, index: int, layer: Mapping[str, Tensor], embedded_BTD: Tensor) -> Results:
        """The same for a layer, with its number in front of the names."""
        place = replace(self.place, weights={**self.place.weights, **layer}, embedded=embedded_BTD)
        return Results(self.config, place, self.kept, f"layer.{index}.")
