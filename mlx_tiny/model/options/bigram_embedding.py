"""Bigram embedding: a row per pair of neighbouring tokens, added to the input, as in modded-nanogpt.

There are far more pairs than rows, so that a hash chooses the row, and rare pairs share one. The rows start at random
and their common gain at zero.
"""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.options import Option, Place
from mlx_tiny.model.spec import ParameterSpec

# Odd numbers below 2^16, so that the products of 16-bit tokens fit into 32 bits.
_FACTORS = (27191, 36313)
_MOST_ROWS = 1 << 20


def _specs(config: ModelConfig, rows: float) -> dict[str, ParameterSpec]:
    return {
        "bigram_embedding": ParameterSpec(
            (int(rows), config.width), std=1.0, group="bigram embedding", rate="embedding_rate", decays=True
        ),
        "bigram_gain": ParameterSpec((config.width,), group="norm weights and scales", rate="scalar_rate"),
    }


def _added(x_BTD: mx.array, place: Place, rows: float) -> mx.array:
    earlier, later = (
        tokens.astype(mx.uint32) * factor
        for tokens, factor in zip((place.previous, place.tokens), _FACTORS, strict=True)
    )
    row_BT = (earlier ^ later) % int(rows)
    return x_BTD + place.parameters["bigram_gain"] * place.parameters["bigram_embedding"][row_BT]


def _valid(rows: float, _: ModelConfig) -> str | None:
    return None if rows in range(1, _MOST_ROWS + 1) else f"a whole number of rows, 1 to {_MOST_ROWS}"


OPTION = Option(
    summary="bigram_embedding=8192 adds an embedding of each pair of tokens, hashed into 8192 rows (modded-nanogpt)",
    valid=_valid,
    specs=_specs,
    changes={"embedded": _added},
    not_portable="qwen3 has no embedding of pairs",
)
