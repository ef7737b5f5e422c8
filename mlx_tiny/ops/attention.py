"""Causal attention over [B, T, H, K] arrays: the plain MLX path and MLX's built-in one."""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.errors import TinyError

IMPLEMENTATIONS = ("auto", "plain", "mlx")


def causal_attention(
    query_BTHK: mx.array,
    key_BSGK: mx.array,
    value_BSGK: mx.array,
    *,
    scale: float,
    implementation: str = "auto",
) -> mx.array:
    """Softmax attention in which position t sees the keys up to its own.

    The T queries are the last T of the S positions, so that T = S in training and T < S when a cache holds the past.

    Args:
        query_BTHK: float32, float16 or bfloat16 [B, T, H, K].
        key_BSGK: same dtype [B, S, G, K] with S >= T; G divides H, and H/G neighbouring query heads share a key head.
        value_BSGK: same dtype [B, S, G, K].
        scale: factor on the scores before the softmax.
        implementation: `plain`, `mlx` (`mx.fast.scaled_dot_product_attention`), or `auto`: `mlx` on a GPU, where it is
            fused, and `plain` elsewhere, where the two are the same operations.

    Returns:
        [B, T, H, K] in the dtype of the query; scores and softmax are float32.

    Raises:
        TinyError: shapes that do not fit, or an unknown implementation.
    """
    _check(query_BTHK, key_BSGK, value_BSGK, implementation)
    if implementation == "auto":
        implementation = "mlx" if mx.default_device().type == mx.DeviceType.gpu else "plain"
    attend = _built_in if implementation == "mlx" else _plain
    query_BHTK, key_BGSK, value_BGSK = (a.swapaxes(1, 2) for a in (query_BTHK, key_BSGK, value_BSGK))
    return attend(query_BHTK, key_BGSK, value_BGSK, scale).swapaxes(1, 2)


def _built_in(query_BHTK: mx.array, key_BGSK: mx.array, value_BGSK: mx.array, scale: float) -> mx.array:
    return mx.fast.scaled_dot_product_attention(query_BHTK, key_BGSK, value_BGSK, scale=scale, mask="causal")


def _plain(query_BHTK: mx.array, key_BGSK: mx.array, value_BGSK: mx.array, scale: float) -> mx.array:
    B, H, T, K = query_BHTK.shape
    G, S = key_BGSK.shape[1:3]
    query = (query_BHTK * scale).reshape(B, G, H // G, T, K)
    key, value = key_BGSK[:, :, None], value_BGSK[:, :, None]
    scores = (query @ key.swapaxes(-1, -2)).astype(mx.float32)
    if T > 1:
        scores = scores + causal_mask(T, S)
    weights = mx.softmax(scores, axis=-1).astype(value.dtype)
    return (weights @ value).reshape(B, H, T, K)


def causal_mask(queries: int, keys: int) -> mx.array:
    """Additive float32 mask [T, S]: 0 where a query may look, the lowest float elsewhere."""
    positions = mx.arange(keys - queries, keys)[:, None]
    return mx.where(mx.arange(keys)[None] <= positions, 0.0, mx.finfo(mx.float32).min)


def _check(query_BTHK: mx.array, key_BSGK: mx.array, value_BSGK: mx.array, implementation: str) -> None:
    if implementation not in IMPLEMENTATIONS:
        raise TinyError(
            f"Unknown attention implementation {implementation!r}", expected=f"one of {', '.join(IMPLEMENTATIONS)}"
        )
    shapes = f"query {query_BTHK.shape}, key {key_BSGK.shape}, value {value_BSGK.shape}"
    if any(a.ndim != 4 for a in (query_BTHK, key_BSGK, value_BSGK)):
        raise TinyError("Attention takes arrays of four axes", expected="[B, T, H, K]", got=shapes)
    B, T, H, K = query_BTHK.shape
    S, G = key_BSGK.shape[1:3]
    if key_BSGK.shape != (B, S, G, K) or value_BSGK.shape != key_BSGK.shape or H % G or S < T:
        raise TinyError(
            "The shapes of the attention's inputs do not fit",
            expected="query [B, T, H, K], key and value [B, S, G, K] with G a divisor of H and S >= T",
            got=shapes,
        )
