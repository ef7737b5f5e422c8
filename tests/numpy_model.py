"""The transformer once more, in float64 numpy, written from its description and not from its code; and small models."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.parameters import parameter_specs

Arrays = dict[str, np.ndarray]

SMALL = ModelConfig(
    vocabulary_size=256, context=12, layers=2, width=12, heads=4, key_value_heads=4, head_width=6, hidden=20
)
CONFIGS = {
    "relu2": SMALL,
    "swiglu": replace(SMALL, activation="swiglu"),
    "grouped": replace(SMALL, key_value_heads=2, activation="swiglu"),
    "one key head": replace(SMALL, key_value_heads=1, rope_base=50.0),
    "tied": replace(SMALL, tied=True, layers=1),
    "odd sizes": replace(SMALL, width=7, heads=3, key_value_heads=1, head_width=2, hidden=5, tied=True, layers=3),
}


def random_parameters(config: ModelConfig, seed: int = 0) -> Arrays:
    """Numbers of a sensible scale everywhere, also where training starts at zero; exact in float32."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for name, spec in parameter_specs(config).items():
        values = generator.standard_normal(spec.shape)
        arrays[name] = 1 + 0.3 * values if spec.start == 1 else values / np.sqrt(spec.shape[-1])
    return {name: array.astype(np.float32).astype(np.float64) for name, array in arrays.items()}


def to_mlx(arrays: Arrays) -> dict[str, mx.array]:
    return {name: mx.array(array.astype(np.float32)) for name, array in arrays.items()}


def random_tokens(config: ModelConfig, rows: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets, [B, T] each."""
    both = np.random.default_rng(seed).integers(0, config.vocabulary_size, (rows, config.context + 1))
    return both[:, :-1], both[:, 1:]


def normalized(x: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon)


def turned(x: np.ndarray, base: float) -> np.ndarray:
    """Rotary positions on [T, heads, K], the pairs (i, i + K/2) as complex numbers."""
    T, _, K = x.shape
    angles = np.arange(T)[:, None, None] * base ** (-2 * np.arange(K // 2) / K)
    pairs = (x[..., : K // 2] + 1j * x[..., K // 2 :]) * np.exp(1j * angles)
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Query [T, H, K], key and value [T, G, K]; query head h uses key head h // (H/G)."""
    T, H, K = query.shape
    mixed = np.zeros_like(query)
    for h in range(H):
        g = h // (H // key.shape[1])
        for t in range(T):
            scores = key[: t + 1, g] @ query[t, h] / np.sqrt(K)
            weights = np.exp(scores - scores.max())
            mixed[t, h] = weights / weights.sum() @ value[: t + 1, g]
    return mixed


def logits(parameters: Arrays, c: ModelConfig, tokens: np.ndarray) -> np.ndarray:
    """Scores [T, V] after each token of one window."""
    H, G, K = c.heads, c.key_value_heads, c.head_width
    x = normalized(parameters["embedding"][tokens], c.norm_epsilon)
    for layer in range(c.layers):
        weights = {name: array[layer] for name, array in parameters.items() if name not in ("embedding", "head")}
        stacked = (normalized(x, c.norm_epsilon) @ weights["query_key_value"].T).reshape(-1, H + 2 * G, K)
        query, key, value = stacked[:, :H], stacked[:, H : H + G], stacked[:, H + G :]
        query = turned(normalized(query, c.norm_epsilon) * weights["query_norm_weight"], c.rope_base)
        key = turned(normalized(key, c.norm_epsilon) * weights["key_norm_weight"], c.rope_base)
        mixed = attention(query, key, value).reshape(len(tokens), H * K)
        x = weights["residual_scale"][0] * x + mixed @ weights["attention_output"].T
        hidden = normalized(x, c.norm_epsilon) @ weights["mlp_input"].T
        if c.activation == "swiglu":
            gate, up = hidden[:, : c.hidden], hidden[:, c.hidden :]
            hidden = gate / (1 + np.exp(-gate)) * up
        else:
            hidden = np.maximum(hidden, 0) ** 2
        x = weights["residual_scale"][1] * x + hidden @ weights["mlp_output"].T
    return normalized(x, c.norm_epsilon) @ parameters["embedding" if c.tied else "head"].T


def losses(parameters: Arrays, config: ModelConfig, tokens: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Negative log-likelihoods [B, T] in nats."""
    result = np.zeros(targets.shape)
    for row, (window, target) in enumerate(zip(tokens, targets, strict=True)):
        scores = logits(parameters, config, window)
        largest = scores.max(axis=1)
        totals = np.log(np.exp(scores - largest[:, None]).sum(axis=1)) + largest
        result[row] = totals - scores[np.arange(len(target)), target]
    return result
