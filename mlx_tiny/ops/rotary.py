"""Rotary position embedding (Su et al. 2021, arXiv 2104.09864), in the half-split layout of GPT-NeoX and Qwen."""

from __future__ import annotations

import mlx.core as mx


def rotary_tables(
    positions: int, head_width: int, base: float, offset: int | mx.array = 0
) -> tuple[mx.array, mx.array]:
    """Cosines and sines of the rotation angles of `positions` positions from `offset` on (an integer scalar).

    Returns:
        Two float32 arrays [T, 1, K/2]; pair i at position t turns by `t * base**(-2i/K)` radians.
    """
    frequencies = base ** (-mx.arange(0, head_width, 2, dtype=mx.float32) / head_width)
    angles = (mx.arange(positions) + offset).astype(mx.float32)[:, None, None] * frequencies
    return mx.cos(angles), mx.sin(angles)


def rotate(x_BTHK: mx.array, tables: tuple[mx.array, mx.array]) -> mx.array:
    """Turn the pairs (i, i + K/2) of each head by the angles in `tables`; keeps shape and dtype."""
    cosine, sine = (table.astype(x_BTHK.dtype) for table in tables)
    first, second = mx.split(x_BTHK, 2, axis=-1)
    return mx.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
