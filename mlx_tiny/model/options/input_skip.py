"""Input skip: each layer's result gets a learned share of the first layer's input, as in modded-nanogpt.

The share is a number per layer and channel, and starts at zero.
"""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.options import Option, Place
from mlx_tiny.model.spec import ParameterSpec


def _specs(config: ModelConfig, _: float) -> dict[str, ParameterSpec]:
    everywhere = tuple(range(config.layers))
    return {
        "input_skip_share": ParameterSpec(
            (config.layers, config.width), group="norm weights and scales", rate="scalar_rate", layers=everywhere
        )
    }


def _added(x_BTD: mx.array, place: Place, _: float) -> mx.array:
    assert place.embedded is not None
    return x_BTD + place.parameters["input_skip_share"] * place.embedded


OPTION = Option(
    summary="input_skip=1 adds a learned share of the embedded input after each layer (modded-nanogpt)",
    valid=lambda value, _: None if value == 1 else "1",
    specs=_specs,
    changes={"after_mlp": _added},
    not_portable="qwen3 adds only the result of the layer before",
)
