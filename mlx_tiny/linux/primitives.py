"""The operations of a training step in C++ (`cpp/`), with their gradients; see `native.py`.

A function of `module()` takes arrays of float32 in row-major order, but those of heads and rows [B, T, H, K] with any
strides, and returns a list of arrays. What the formulas are is said in the C++ text and in `ops/`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.linux.native import module
from mlx_tiny.linux.rows import logits_gradient

Tables = tuple[mx.array, mx.array]


def attend_natively(query_BTHK: mx.array, key_BTGK: mx.array, value_BTGK: mx.array, *, scale: float) -> mx.array:
    """The operation `attention` for whole sequences of float32."""
    mixed_BTHK: mx.array = _attention(scale)(query_BTHK, key_BTGK, value_BTGK)[0]
    return mixed_BTHK


@functools.cache
def _attention(scale: float) -> Callable[..., Any]:
    """Returns the result, and of each row of scores the maximum and the inverse sum, [B, H, T, 2], for the gradient."""
    forward, gradient = module().attention, module().attention_gradient
    return _with_gradient(
        lambda *inputs: forward(*inputs, scale),
        lambda inputs, cotangents, outputs: gradient(*inputs, *outputs, cotangents[0], scale),
    )


def normalize_natively(x: mx.array, *, epsilon: float) -> mx.array:
    """The operation `norm`, float32."""
    normalized: mx.array = _norm(epsilon)(x)[0]
    return normalized


@functools.cache
def _norm(epsilon: float) -> Callable[..., Any]:
    """Returns the result, and the factors of the rows for the gradient."""
    forward, gradient = module().normalize, module().norm_gradient
    return _with_gradient(
        lambda x: forward(mx.contiguous(x), epsilon),
        lambda _, cotangents, outputs: gradient(*outputs, mx.contiguous(cotangents[0]))[0],
    )


def turn_natively(x_BTHK: mx.array, weight_K: mx.array, tables: Tables, epsilon: float) -> mx.array:
    """The part of the operation `qk_norm_rope` for the query heads or for the key heads, float32 [B, T, H, K]."""
    rotated_BTHK: mx.array = _turn(epsilon)(x_BTHK, *map(mx.contiguous, (weight_K, *tables)))[0]
    return rotated_BTHK


@functools.cache
def _turn(epsilon: float) -> Callable[..., Any]:
    forward, gradient = module().turn, module().turn_gradient
    return _with_gradient(
        lambda *inputs: forward(*inputs, epsilon),
        # The tables have no gradient.
        lambda inputs, cotangents, _: [*gradient(*inputs, cotangents[0], epsilon), *map(mx.zeros_like, inputs[2:])],
    )


def activate_natively(hidden: mx.array, *, activation: str) -> mx.array:
    """The operation `activation`, float32."""
    result: mx.array = _activation(activation)(hidden)[0]
    return result


@functools.cache
def _activation(activation: str) -> Callable[..., Any]:
    names = {"relu2": "squared_relu", "swiglu": "swiglu"}
    forward, gradient = getattr(module(), names[activation]), getattr(module(), f"{names[activation]}_gradient")
    return _with_gradient(
        lambda x: forward(mx.contiguous(x)),
        # Of a function of one array, MLX passes that array, and not a list.
        lambda x, cotangents, _: gradient(mx.contiguous(x), mx.contiguous(cotangents[0]))[0],
    )


def head_cross_entropy_natively(hidden_ND: mx.array, head_VD: mx.array, target_N: mx.array) -> mx.array:
    """The operation `cross_entropy`, float32."""
    losses_N: mx.array = _cross_entropy()(hidden_ND, head_VD, target_N)[0]
    return losses_N


@functools.cache
def _cross_entropy() -> Callable[..., Any]:
    """Returns the losses, and for the gradient what `rows.logits_gradient` expects."""
    forward = module().cross_entropy
    return _with_gradient(
        lambda hidden_ND, head_VD, target_N: forward(
            *map(mx.contiguous, (hidden_ND, head_VD, target_N.astype(mx.int32)))
        ),
        logits_gradient,
    )


def _with_gradient(forward: Callable[..., Any], gradient: Callable[..., Any]) -> Callable[..., Any]:
    function = mx.custom_function(forward)
    function.vjp(gradient)
    return function
