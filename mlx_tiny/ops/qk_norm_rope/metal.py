"""QK-norm and rotary positions in Metal: one kernel forward and one backward. See `kernels/README.md`."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.ops.metal import MetalKernel

LARGEST_WIDTH = 256
"""A lane of the kernels has several times K / 32 numbers in registers."""

_INPUTS = ("projected", "query_norm_weight", "key_norm_weight", "cosine", "sine", "epsilon")
_FORWARD = MetalKernel("qk_norm_rope_forward", _INPUTS, ("query", "key", "value"))
_BACKWARD = MetalKernel(
    "qk_norm_rope_backward",
    (*_INPUTS, "query_gradient", "key_gradient", "value_gradient"),
    ("projected_gradient", "norm_weight_gradient"),
)
_SIMDGROUPS = 4
# Tokens per threadgroup of the backward kernel: more give fewer partial sums, fewer give more threadgroups.
_TOKENS = 8


def normalize_and_rotate_on_metal(
    projected_BTXK: mx.array,
    query_norm_weight_K: mx.array,
    key_norm_weight_K: mx.array,
    cosine_T1X: mx.array,
    sine_T1X: mx.array,
    *,
    key_value_heads: int,
    epsilon: float,
) -> list[mx.array]:
    """The operation by the kernels, with their gradient; computed in float32, for K up to `LARGEST_WIDTH`."""
    constants = mx.stop_gradient(cosine_T1X), mx.stop_gradient(sine_T1X), mx.array([epsilon], dtype=mx.float32)
    heads: list[mx.array] = _fused(key_value_heads)(projected_BTXK, query_norm_weight_K, key_norm_weight_K, *constants)
    return heads


@functools.cache
def _fused(key_value_heads: int) -> Callable[..., Any]:
    """The differentiable function of projection, weights, tables and epsilon."""

    def template(projected_BTXK: mx.array) -> dict[str, int | bool | mx.Dtype]:
        _, _, heads, K = projected_BTXK.shape
        return {"Element": projected_BTXK.dtype, "K": K, "H": heads - 2 * key_value_heads, "G": key_value_heads}

    def split(projected_BTXK: mx.array, *others: mx.array) -> list[mx.array]:
        B, T, heads, K = projected_BTXK.shape
        key_value_shape = (B, T, key_value_heads, K)
        return _FORWARD(
            [projected_BTXK, *others],
            template=template(projected_BTXK),
            threadgroups=(math.ceil(B * T * heads / _SIMDGROUPS), 1, 1),
            threads=32 * _SIMDGROUPS,
            outputs=[
                (shape, projected_BTXK.dtype)
                for shape in ((B, T, heads - 2 * key_value_heads, K), key_value_shape, key_value_shape)
            ],
        )

    def gradient(primals: list[mx.array], cotangents: list[mx.array], _: list[mx.array]) -> list[mx.array]:
        projected_BTXK, query_norm_weight_K, _key_norm_weight_K, *constants = primals
        B, T, _heads, K = projected_BTXK.shape
        groups = math.ceil(B * T / _TOKENS)
        projected_gradient, partial_P2K = _BACKWARD(
            [*primals, *cotangents],
            template={**template(projected_BTXK), "TOKENS": _TOKENS, "SIMDGROUPS": _SIMDGROUPS},
            threadgroups=(groups, 1, 1),
            threads=32 * _SIMDGROUPS,
            outputs=[(projected_BTXK.shape, projected_BTXK.dtype), ((groups, 2, K), mx.float32)],
        )
        # Split gives views of the sum; indexing would need two more launches.
        weights = mx.split(mx.sum(partial_P2K, axis=0).astype(query_norm_weight_K.dtype).flatten(), 2)
        return [projected_gradient, *weights, *map(mx.zeros_like, constants)]

    fused = mx.custom_function(split)
    fused.vjp(gradient)
    return fused
