"""QK-norm and rotary positions in plain MLX.

Rotary position embedding (Su et al. 2021, arXiv 2104.09864) in the half-split layout of GPT-NeoX and Qwen.
"""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

Tables = tuple[mx.array, mx.array]


def by_heads(turn: Callable[[mx.array, mx.array, Tables, float], mx.array]) -> Callable[..., list[mx.array]]:
    """Makes the operation from a function that normalises, scales and rotates the query heads or the key heads."""

    def normalize_and_rotate(
        projected_BTXK: mx.array,
        query_norm_weight_K: mx.array,
        key_norm_weight_K: mx.array,
        cosine_T1X: mx.array,
        sine_T1X: mx.array,
        *,
        key_value_heads: int,
        epsilon: float,
    ) -> list[mx.array]:
        tables = mx.stop_gradient(cosine_T1X), mx.stop_gradient(sine_T1X)
        H = projected_BTXK.shape[2] - 2 * key_value_heads
        query_BTHK, key_BTGK, value_BTGK = mx.split(projected_BTXK, [H, H + key_value_heads], axis=2)
        return [
            turn(query_BTHK, query_norm_weight_K, tables, epsilon),
            turn(key_BTGK, key_norm_weight_K, tables, epsilon),
            value_BTGK,
        ]

    return normalize_and_rotate


def turn_plainly(x_BTHK: mx.array, weight_K: mx.array, tables: Tables, epsilon: float) -> mx.array:
    """RMSNorm over K with a weight, followed by the rotation."""
    return rotate(mx.fast.rms_norm(x_BTHK, weight_K, epsilon), tables)


def rotary_tables(
    positions: int, head_width: int, base: float, offset: int | mx.array = 0
) -> tuple[mx.array, mx.array]:
    """Cosines and sines of the rotation angles of T positions, from `offset` (an integer scalar) on.

    Returns:
        Two float32 arrays [T, 1, K/2]; pair i at position t is rotated by `t * base**(-2i/K)` radians.
    """
    frequencies = base ** (-mx.arange(0, head_width, 2, dtype=mx.float32) / head_width)
    angles = (mx.arange(positions) + offset).astype(mx.float32)[:, None, None] * frequencies
    return mx.cos(angles), mx.sin(angles)


def rotate(x_BTHK: mx.array, tables: tuple[mx.array, mx.array]) -> mx.array:
    """Rotate the pairs (i, i + K/2) of each head by the angles in `tables`; shape and dtype stay the same."""
    cosine, sine = (table.astype(x_BTHK.dtype) for table in tables)
    first, second = mx.split(x_BTHK, 2, axis=-1)
    return mx.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def rotate_from_start(x_BTHK: mx.array, *, base: float) -> mx.array:
    """Rotate by the angles of positions 0 to T-1."""
    return rotate(x_BTHK, rotary_tables(x_BTHK.shape[1], x_BTHK.shape[3], base))
