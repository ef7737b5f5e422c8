"""Causal attention in plain MLX, and by MLX's own function; both support keys from a cache."""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx


def _heads_first(attend: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """Makes a function of [B, T, H, K] arrays from one of [B, H, T, K] arrays."""

    @functools.wraps(attend)
    def swapped(
        query_BTHK: mx.array,
        key_BSGK: mx.array,
        value_BSGK: mx.array,
        *,
        scale: float,
        filled: mx.array | None = None,
    ) -> mx.array:
        heads_first = (array.swapaxes(1, 2) for array in (query_BTHK, key_BSGK, value_BSGK))
        return attend(*heads_first, scale, filled).swapaxes(1, 2)

    return swapped


@_heads_first
def attend_plainly(
    query_BHTK: mx.array, key_BGSK: mx.array, value_BGSK: mx.array, scale: float, filled: mx.array | None
) -> mx.array:
    """The operation by two products and a softmax."""
    B, H, T, K = query_BHTK.shape
    G, S = key_BGSK.shape[1:3]
    # Scores and softmax are float32, because neighbouring bfloat16 numbers near 1000 differ by 4. Weights have the
    # dtype of the values.
    query = (query_BHTK.astype(mx.float32) * scale).reshape(B, G, H // G, T, K)
    key, value = key_BGSK[:, :, None].astype(mx.float32), value_BGSK[:, :, None]
    scores = query @ key.swapaxes(-1, -2)
    if T > 1 or filled is not None:
        scores = scores + causal_mask(T, S, filled)
    weights = mx.softmax(scores, axis=-1).astype(value.dtype)
    return (weights @ value).reshape(B, H, T, K)


@_heads_first
def attend_by_mlx(
    query_BHTK: mx.array, key_BGSK: mx.array, value_BGSK: mx.array, scale: float, filled: mx.array | None
) -> mx.array:
    """The operation by `mx.fast.scaled_dot_product_attention`."""
    mask: str | mx.array = "causal"
    if filled is not None:
        mask = causal_mask(query_BHTK.shape[2], key_BGSK.shape[2], filled) == 0
    return mx.fast.scaled_dot_product_attention(query_BHTK, key_BGSK, value_BGSK, scale=scale, mask=mask)


def causal_mask(queries: int, keys: int, filled: mx.array | None = None) -> mx.array:
    """Additive float32 mask [T, S]: 0 where a query may attend, the lowest float elsewhere.

    Args:
        filled: number of keys that are used, an integer scalar; the queries are the last of these.
    """
    positions = mx.arange(-queries, 0)[:, None] + (keys if filled is None else filled)
    return mx.where(mx.arange(keys)[None] <= positions, 0.0, mx.finfo(mx.float32).min)
