"""The SwiGLU model is one that the architecture `qwen3` represents: its weights fold into qwen3's forward pass.

The forward pass below is qwen3's (transformers' `modeling_qwen3.py` as a description): a plain residual stream, RMSNorm
with a weight, QK-norm before the rotary positions, no scales and no norm after the embedding.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy_model import Arrays, attention, logits, normalized, random_parameters, turned

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.export.qwen3 import folded

# The norms' epsilon meets a stream of another scale, so the two differ by about epsilon and no more.
LARGEST_DIFFERENCE = 2e-5
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


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("tied", [False, True])
def test_the_folded_weights_give_the_same_logits(seed: int, tied: bool) -> None:
    config = ModelConfig(**{**CONFIG.__dict__, "tied": tied})
    parameters = random_parameters(config, seed)
    tokens = np.random.default_rng(seed).integers(0, config.vocabulary_size, config.context)
    ours, theirs = logits(parameters, config, tokens), qwen3_logits(folded(parameters, config), config, tokens)
    assert np.abs(ours - theirs).max() <= LARGEST_DIFFERENCE * np.abs(ours).max()


def test_without_the_folding_they_differ() -> None:
    parameters = random_parameters(CONFIG)
    weights = folded({**parameters, "residual_scale": np.ones((CONFIG.layers, 2))}, CONFIG)
    tokens = np.arange(CONFIG.context)
    difference = np.abs(logits(parameters, CONFIG, tokens) - qwen3_logits(weights, CONFIG, tokens)).max()
    assert difference > 100 * LARGEST_DIFFERENCE


def test_a_residual_scale_of_zero_is_refused() -> None:
    parameters = random_parameters(CONFIG)
    parameters["residual_scale"][1, 0] = 0
    with pytest.raises(TinyError, match="residual scale of layer 1"):
        folded(parameters, CONFIG)
