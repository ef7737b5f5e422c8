"""Keeps logits between -cap and cap, by cap tanh(z / cap), as in Gemma 2 (arXiv 2408.00118)."""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.options import Option, Place


def _capped(logits: mx.array, place: Place, cap: float) -> mx.array:
    return cap * mx.tanh(logits / cap)


def _valid(cap: float, config: ModelConfig) -> str | None:
    return None if 1 <= cap <= 1000 else "1 to 1000"


OPTION = Option(
    summary="logit_soft_cap=15 keeps logits between -15 and 15 (Gemma 2, arXiv 2408.00118)",
    valid=_valid,
    changes={"logits": _capped},
    not_portable="qwen3 has no soft-cap of the logits",
)
