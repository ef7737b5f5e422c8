"""Sums and maxima of rows for the CPU, and how to keep MLX from computing them again and again.

MLX reduces a row one number after the other; a product with ones, and comparisons of whole quarters of the rows, are
vector code.
"""

from __future__ import annotations

import math

import mlx.core as mx

# Shorter rows are not worth cutting.
_SHORT = 16
# Longer rows are summed in parts. Beside a sum near 1 each number below 6e-8 is lost, and a vocabulary has thousands.
_LONGEST_SUM = 256


def row_sum(x: mx.array) -> mx.array:
    """Sum of each row of float32 [..., n], [..., 1]."""
    n = x.shape[-1]
    if n > _LONGEST_SUM and (length := _nearest_divisor(n)) > 1:
        x = row_sum(x.reshape(*x.shape[:-1], n // length, length))[..., 0]
    return x @ mx.ones((x.shape[-1], 1))


def _nearest_divisor(n: int) -> int:
    """The largest divisor of n up to its root."""
    return max(d for d in range(1, math.isqrt(n) + 1) if n % d == 0)


def row_maximum(x: mx.array) -> mx.array:
    """Largest number of each row of float32 [..., n], [..., 1]."""
    while x.shape[-1] > _SHORT and x.shape[-1] % 4 == 0:
        first, second, third, fourth = mx.split(x, 4, axis=-1)
        x = mx.maximum(mx.maximum(first, second), mx.maximum(third, fourth))
    return mx.max(x, axis=-1, keepdims=True)


def apart(x: mx.array) -> mx.array:
    """`x`, computed by itself.

    A compiled graph computes what it can inside the loop that uses it: a row's one number, such as the inverse of its
    norm, again for each entry of the row.
    """
    return mx.contiguous(x)
