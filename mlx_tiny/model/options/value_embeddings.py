"""Value embeddings: a row per token of the vocabulary, added to attention's values, as in modded-nanogpt and nanochat.

Each of the last n layers has a table [V, G K]. The values of a position get the row of its token, times a learned gain
per layer.
"""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.options import Option, Place
from mlx_tiny.model.spec import ParameterSpec


def _specs(config: ModelConfig, count: float) -> dict[str, ParameterSpec]:
    layers = tuple(range(config.layers))[-int(count) :]
    width = config.key_value_heads * config.head_width
    return {
        "value_embedding": ParameterSpec(
            (len(layers), config.vocabulary_size, width),
            std=1.0,
            group="value embeddings",
            rate="embedding_rate",
            decays=True,
            layers=layers,
        ),
        "value_embedding_gain": ParameterSpec(
            (len(layers), 1), group="norm weights and scales", rate="scalar_rate", layers=layers
        ),
    }


def _added(value_BTGK: mx.array, place: Place, count: float) -> mx.array:
    table_VX = place.parameters.get("value_embedding")
    if table_VX is None:  # a layer without one
        return value_BTGK
    rows = table_VX[place.tokens].reshape(value_BTGK.shape)
    return value_BTGK + place.parameters["value_embedding_gain"] * rows


def _valid(count: float, config: ModelConfig) -> str | None:
    return None if count in range(1, config.layers + 1) else f"a whole number of layers, 1 to {config.layers}"


OPTION = Option(
    summary="value_embeddings=2 adds an embedding of each token to attention's values in the last 2 layers (nanochat)",
    valid=_valid,
    specs=_specs,
    changes={"attention.value": _added},
    not_portable="qwen3 has no value embeddings",
)
