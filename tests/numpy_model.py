"""The transformer in float64 numpy, from the formulas of the operations; and small models."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.ops.activation import ACTIVATION
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.norm import NORM
from mlx_tiny.ops.qk_norm_rope import ROTARY

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
    """Random numbers for all parameters, also for those that start at zero; exact in float32."""
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
    return NORM.proof.formula({"x": x}, {"output": 0 * x}, {"epsilon": epsilon})["output"]


def turned(x: np.ndarray, base: float) -> np.ndarray:
    """Rotary positions on [T, heads, K]."""
    return ROTARY.proof.formula({"x": x[None]}, {"output": 0 * x[None]}, {"base": base})["output"][0]


def attention(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Query [T, H, K], key and value [T, G, K]; query head h uses key head h // (H/G)."""
    inputs = {"query": query[None], "key": key[None], "value": value[None]}
    cotangents, settings = {"output": 0 * query[None]}, {"scale": query.shape[2] ** -0.5}
    return ATTENTION.proof.formula(inputs, cotangents, settings)["output"][0]


def activated(hidden: np.ndarray, config: ModelConfig) -> np.ndarray:
    cotangents, settings = {"output": 0 * hidden[:, : config.hidden]}, {"activation": config.activation}
    return ACTIVATION.proof.formula({"hidden": hidden}, cotangents, settings)["output"]


def logits(parameters: Arrays, c: ModelConfig, tokens: np.ndarray) -> np.ndarray:
    """Logits [T, V] of a window."""
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
        hidden = activated(normalized(x, c.norm_epsilon) @ weights["mlp_input"].T, c)
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
