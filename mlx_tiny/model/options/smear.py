"""Smear: each position gets a learned share of the previous token's embedding, as in modded-nanogpt.

Attention then need not find the previous token first. The share is a number per channel, and starts at zero.
"""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.model.options import Option, Place
from mlx_tiny.model.spec import ParameterSpec


def _smeared(x_BTD: mx.array, place: Place, _: float) -> mx.array:
    last, epsilon = place.config.vocabulary_size - 1, place.config.norm_epsilon
    row_BTD = place.parameters["embedding"][mx.minimum(place.previous, last)]
    known_BT1 = (place.previous <= last)[..., None].astype(x_BTD.dtype)
    return x_BTD + place.parameters["smear_share"] * known_BT1 * mx.fast.rms_norm(row_BTD, None, epsilon)


OPTION = Option(
    summary="smear=1 adds a learned share of the previous token's embedding to the input (modded-nanogpt)",
    valid=lambda value, _: None if value == 1 else "1",
    specs=lambda config, _: {
        "smear_share": ParameterSpec((config.width,), group="norm weights and scales", rate="scalar_rate")
    },
    changes={"embedded": _smeared},
    not_portable="qwen3 does not add embeddings of other positions",
)
