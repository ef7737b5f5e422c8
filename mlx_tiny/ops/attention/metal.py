"""Fused causal attention for training in Metal: three launches, and no [T, T] matrix in device memory.

The forward pass (`kernels/attention_forward.metal`) also stores two numbers per row, which together are the log-sum-exp
L of the scores: the largest score, and the logarithm of the sum relative to it. From L the backward pass recomputes the
weights P = exp(S - L), tile by tile, in two kernels. In one a threadgroup owns queries and computes dQ and
delta = rowsum(dO O); in the other it owns keys and computes dK and dV. Each number of a result is summed by one
simdgroup in a fixed order, so that equal inputs give equal bits. See `kernels/README.md`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.ops.metal import MetalKernel

WIDTHS = (32, 48, 64, 80, 96, 128)
"""Head widths for which the kernels are built and tested."""

# As in the kernels: queries or keys per threadgroup, and its threads, which are four simdgroups with 8 rows each.
_BLOCK, _THREADS = 32, 128

_FORWARD = MetalKernel("attention_forward", ("query", "key", "value", "scale"), ("output", "log_sum_exp"))
_BACKWARD_QUERY = MetalKernel(
    "attention_backward_query",
    ("query", "key", "value", "output", "log_sum_exp", "cotangent", "scale"),
    ("query_gradient", "delta"),
)
_BACKWARD_KEY_VALUE = MetalKernel(
    "attention_backward_key_value",
    ("query", "key", "value", "log_sum_exp", "delta", "cotangent", "scale"),
    ("key_gradient", "value_gradient"),
)


def attend_on_metal(query_BTHK: mx.array, key_BTGK: mx.array, value_BTGK: mx.array, *, scale: float) -> mx.array:
    """Causal attention by the Metal kernels, with their gradient.

    It only builds the launches: errors of Metal's compiler come when the result is evaluated. Inputs and cotangents
    that are not row-contiguous are copied first.

    Args:
        query_BTHK: float32, float16 or bfloat16 [B, T, H, K], K one of `WIDTHS`.
        key_BTGK: same dtype [B, T, G, K], G a divisor of H.
        value_BTGK: same dtype [B, T, G, K].
        scale: factor on the scores before the softmax.

    Returns:
        [B, T, H, K] in the inputs' dtype.
    """
    mixed_BTHK: mx.array = _fused_attention(scale)(query_BTHK, key_BTGK, value_BTGK)[0]
    return mixed_BTHK


@functools.cache
def _fused_attention(scale: float) -> Callable[..., Any]:
    """The differentiable function for a scale; its second output, L, is for the gradient only."""
    attend = mx.custom_function(functools.partial(_forward, scale))
    attend.vjp(functools.partial(_gradient, scale))
    return attend


def _forward(scale: float, query_BTHK: mx.array, key_BTGK: mx.array, value_BTGK: mx.array) -> list[mx.array]:
    B, T, H, K = query_BTHK.shape
    return _FORWARD(
        [query_BTHK, key_BTGK, value_BTGK, mx.array([scale], dtype=mx.float32)],
        template={"T": query_BTHK.dtype, "K": K},
        threadgroups=(H, _blocks(T), B),
        threads=_THREADS,
        outputs=[(query_BTHK.shape, query_BTHK.dtype), ((B, H, T, 2), mx.float32)],
    )


def _gradient(
    scale: float, primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]
) -> tuple[mx.array, mx.array, mx.array]:
    query, key, value = primals
    output, log_sum_exp_BHT2 = outputs
    cotangent = cotangents[0]
    B, T, H, K = query.shape
    G = key.shape[2]
    template: dict[str, int | bool | mx.Dtype] = {"T": query.dtype, "K": K}
    scale_1 = mx.array([scale], dtype=mx.float32)
    query_gradient, delta_BHT = _BACKWARD_QUERY(
        [query, key, value, output, log_sum_exp_BHT2, cotangent, scale_1],
        template=template,
        threadgroups=(H, _blocks(T), B),
        threads=_THREADS,
        outputs=[(query.shape, query.dtype), ((B, H, T), mx.float32)],
    )
    key_gradient, value_gradient = _BACKWARD_KEY_VALUE(
        [query, key, value, log_sum_exp_BHT2, delta_BHT, cotangent, scale_1],
        template=template,
        threadgroups=(G, _blocks(T), B),
        threads=_THREADS,
        outputs=[(key.shape, key.dtype), (value.shape, value.dtype)],
    )
    return query_gradient, key_gradient, value_gradient


def _blocks(T: int) -> int:
    return -(-T // _BLOCK)
