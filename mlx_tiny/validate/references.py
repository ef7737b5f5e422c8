"""Float64 formulas in numpy for what the kernels compute: outputs, and gradients for given cotangents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mlx_tiny.validate.arrays import Array


def attention(
    query_BTHK: Array, key_BSGK: Array, value_BSGK: Array, cotangent_BTHK: Array, scale: float
) -> tuple[Array, Array, Array, Array]:
    """Causal softmax attention and its three gradients; the queries are the last T of S positions."""
    B, T, H, K = query_BTHK.shape
    S, G = key_BSGK.shape[1:3]
    allowed = np.arange(S)[None] <= np.arange(S - T, S)[:, None]
    query, cotangent = (a.reshape(B, T, G, H // G, K) for a in (query_BTHK, cotangent_BTHK))
    scores = scale * np.einsum("btgrk,bsgk->bgrts", query, key_BSGK)
    scores = np.where(allowed, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    output = np.einsum("bgrts,bsgk->btgrk", weights, value_BSGK)
    weight_gradient = np.einsum("btgrk,bsgk->bgrts", cotangent, value_BSGK)
    delta = (weights * weight_gradient).sum(axis=-1, keepdims=True)
    score_gradient = scale * weights * (weight_gradient - delta)
    return (
        output.reshape(query_BTHK.shape),
        np.einsum("bgrts,bsgk->btgrk", score_gradient, key_BSGK).reshape(query_BTHK.shape),
        np.einsum("bgrts,btgrk->bsgk", score_gradient, query),
        np.einsum("bgrts,btgrk->bsgk", weights, cotangent),
    )


def heads(
    projected_BTXK: Array,
    query_norm_weight_K: Array,
    key_norm_weight_K: Array,
    tables_TK: tuple[Array, Array],
    key_value_heads: int,
    epsilon: float,
) -> tuple[Array, Array, Array]:
    """Query and key after RMSNorm with a weight and the rotation, and the value as it is.

    Args:
        projected_BTXK: X = H + 2 G heads: the queries', the keys', the values'.
        tables_TK: cosines and sines [T, K/2]; pair (i, i + K/2) turns by the angle of column i.
    """
    query, key, value = _parts(projected_BTXK, key_value_heads)
    turned = (
        _turn(x * _inverse_root_mean_square(x, epsilon) * weight, tables_TK)
        for x, weight in ((query, query_norm_weight_K), (key, key_norm_weight_K))
    )
    return (*turned, value)  # type: ignore[return-value]


def heads_gradients(
    projected_BTXK: Array,
    query_norm_weight_K: Array,
    key_norm_weight_K: Array,
    tables_TK: tuple[Array, Array],
    key_value_heads: int,
    epsilon: float,
    cotangents: Sequence[Array],
) -> tuple[Array, Array, Array]:
    """Gradients of the projection and of both norm weights, for the cotangents of query, key and value."""
    query, key, _ = _parts(projected_BTXK, key_value_heads)
    cosine, sine = tables_TK
    projected, weights = [], []
    for x, weight, cotangent in ((query, query_norm_weight_K, cotangents[0]), (key, key_norm_weight_K, cotangents[1])):
        scaled = _turn(cotangent, (cosine, -sine))
        factor = _inverse_root_mean_square(x, epsilon)
        weights.append((scaled * x * factor).sum(axis=(0, 1, 2)))
        along = (scaled * weight * x).mean(axis=-1, keepdims=True)
        projected.append(factor * scaled * weight - factor**3 * x * along)
    return np.concatenate([*projected, cotangents[2]], axis=2), weights[0], weights[1]


def _parts(projected_BTXK: Array, key_value_heads: int) -> list[Array]:
    heads = projected_BTXK.shape[2] - 2 * key_value_heads
    return np.split(projected_BTXK, [heads, heads + key_value_heads], axis=2)


def _inverse_root_mean_square(x: Array, epsilon: float) -> Array:
    inverse: Array = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon)
    return inverse


def _turn(x_BTHK: Array, tables_TK: tuple[Array, Array]) -> Array:
    cosine, sine = (table[:, None] for table in tables_TK)
    first, second = np.split(x_BTHK, 2, axis=-1)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def look_ahead(gradient: Array, momentum: Array, mu: float) -> tuple[Array, Array]:
    """Muon's new momentum average, and the Nesterov step from it."""
    average = mu * momentum + (1 - mu) * gradient
    return average, mu * average + (1 - mu) * gradient


def symmetric_product(x_NRC: Array, addend_NRR: Array, alpha: float, beta: float) -> Array:
    """alpha X X^T + beta addend."""
    product: Array = alpha * x_NRC @ x_NRC.swapaxes(1, 2) + beta * addend_NRR
    return product


def frobenius_norm(x_NRC: Array) -> Array:
    """Of each matrix of a bank, [N]."""
    return np.array([math.sqrt(float((x**2).sum())) for x in x_NRC])
