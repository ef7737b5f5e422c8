"""The forward pass of qwen3 in float64 numpy, and random weights for it.

transformers' `modeling_qwen3.py` as a description: a plain residual stream, RMSNorm with a weight, QK-norm before the
rotary positions, no scales and no norm after the embedding.
"""

from __future__ import annotations

import numpy as np
from numpy_model import Arrays, attention, normalized, turned

from mlx_tiny.config import ModelConfig

CONFIG = ModelConfig(
    vocabulary_size=256,
    context=16,
    layers=3,
    width=16,
    heads=4,
    key_value_heads=2,
    head_width=6,
    hidden=20,
    activation="swiglu",
)


def qwen3_logits(weights: Arrays, c: ModelConfig, tokens: np.ndarray) -> np.ndarray:
    """Logits [T, V] of the forward pass of qwen3."""
    T, K = len(tokens), c.head_width
    names = {name.removeprefix("model.").removesuffix(".weight"): array for name, array in weights.items()}
    x = names["embed_tokens"][tokens]
    for layer in range(c.layers):
        own = {name.split(".")[-1]: array for name, array in names.items() if name.startswith(f"layers.{layer}.")}
        h = normalized(x, c.norm_epsilon) * own["input_layernorm"]
        query, key, value = ((h @ own[name].T).reshape(T, -1, K) for name in ("q_proj", "k_proj", "v_proj"))
        query = turned(normalized(query, c.norm_epsilon) * own["q_norm"], c.rope_base)
        key = turned(normalized(key, c.norm_epsilon) * own["k_norm"], c.rope_base)
        x = x + attention(query, key, value).reshape(T, -1) @ own["o_proj"].T
        h = normalized(x, c.norm_epsilon) * own["post_attention_layernorm"]
        gate = h @ own["gate_proj"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ own["up_proj"].T)) @ own["down_proj"].T
    return (normalized(x, c.norm_epsilon) * names["norm"]) @ names["lm_head"].T
