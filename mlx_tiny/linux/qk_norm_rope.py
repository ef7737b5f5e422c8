"""QK-norm and rotary positions for the CPU, with a gradient of their own; the formulas are those of `heads.py`.

A rotated row is x times one table plus x with its halves exchanged times another, where the weight and the sign of the
rotation are part of the tables. Results lie head by head in memory, [B, H, T, K], as the CPU's attention takes them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.linux.rows import apart, row_sum


def normalize_and_rotate(
    x_BTHK: mx.array, weight_K: mx.array, tables: tuple[mx.array, mx.array], epsilon: float
) -> mx.array:
    """The query or the key heads of `qk_norm_rope`, float32 [B, T, H, K]."""
    rotated_BTHK: mx.array = _function(epsilon)(x_BTHK, weight_K, *tables)[0]
    return rotated_BTHK


@functools.cache
def _function(epsilon: float) -> Callable[..., Any]:
    """The result, and what the gradient needs: the rows head by head, and the inverse of their norms."""

    def forward(x_BTHK: mx.array, weight_K: mx.array, cosine: mx.array, sine: mx.array) -> list[mx.array]:
        x_BHTK = mx.contiguous(x_BTHK.swapaxes(1, 2))
        inverse_BHT1 = apart(mx.rsqrt(row_sum(mx.square(x_BHTK)) / x_BHTK.shape[-1] + epsilon))
        straight, crossed = _signed(cosine, sine, 1)
        rotated_BHTK = apart(
            x_BHTK * apart(weight_K * straight) + _exchanged(x_BHTK) * apart(_exchanged(weight_K) * crossed)
        )
        return [(rotated_BHTK * inverse_BHT1).swapaxes(1, 2), x_BHTK, inverse_BHT1]

    def gradient(primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]) -> list[mx.array]:
        _, weight_K, cosine, sine = primals
        _, x_BHTK, inverse_BHT1 = outputs
        K = x_BHTK.shape[-1]
        cotangent_BHTK = cotangents[0].swapaxes(1, 2)
        straight, crossed = _signed(cosine, sine, -1)
        turned_back = apart(cotangent_BHTK * straight + _exchanged(cotangent_BHTK) * crossed)
        product = turned_back * x_BHTK
        share_BHT1 = apart((product @ weight_K[:, None]) * mx.square(inverse_BHT1) / K)
        x_gradient = (turned_back * weight_K - x_BHTK * share_BHT1) * inverse_BHT1
        norm_weight_gradient = product.reshape(-1, K).T @ inverse_BHT1.reshape(-1, 1)
        return [x_gradient.swapaxes(1, 2), norm_weight_gradient[:, 0], mx.zeros_like(cosine), mx.zeros_like(sine)]

    function = mx.custom_function(forward)
    function.vjp(gradient)
    return function


def _signed(cosine: mx.array, sine: mx.array, direction: int) -> tuple[mx.array, mx.array]:
    """Tables [T, K] for a row and for the same with its halves exchanged; direction -1 turns back."""
    cosine_TK, sine_TK = (table.reshape(table.shape[0], -1) for table in (cosine, direction * sine))
    return mx.concatenate([cosine_TK, cosine_TK], axis=-1), mx.concatenate([-sine_TK, sine_TK], axis=-1)


def _exchanged(x: mx.array) -> mx.array:
    first, second = mx.split(x, 2, axis=-1)
    return mx.concatenate([second, first], axis=-1)
