"""The MLP's activations, squared ReLU and SwiGLU, plain and for the CPU.

The CPU's have gradients of their own and avoid what MLX computes there one number at a time: comparisons (max(x, 0) is
(x + |x|) / 2) and exponentials (with e = exp(-|x|), sigmoid(x) is 1/2 + sign(x) (1 - e) / (2 + 2 e)).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.exponential import shifted_exponential
from mlx_tiny.ops import dispatch
from mlx_tiny.ops.dispatch import Choice

IMPLEMENTATIONS = ("auto", "plain", "cpu")


def activate(hidden: mx.array, activation: str, *, implementation: str = "auto") -> mx.array:
    """What the MLP's second matrix multiplies.

    Args:
        hidden: float32, float16 or bfloat16 [..., F], or [..., 2F] for SwiGLU: the gate, then what it gates.
        activation: `relu2`, max(x, 0)^2, or `swiglu`, gate sigmoid(gate) x (Shazeer 2020, arXiv 2002.05202).
        implementation: `plain`, `cpu` (float32), or `auto`: what `ops/dispatch.py` chooses.

    Returns:
        [..., F] in the dtype of `hidden`.

    Raises:
        TinyError: an unknown activation or implementation, or one that does not take the type.
    """
    if activation not in _PLAIN:
        raise TinyError(f"Unknown activation {activation!r}", expected=" or ".join(_PLAIN))
    implementation = dispatch.resolved(
        "the activation", implementation, IMPLEMENTATIONS, hidden.dtype, lambda: choose(hidden)
    )
    if implementation == "plain":
        return _PLAIN[activation](hidden)
    result: mx.array = _on_cpu(activation)(hidden)[0]
    return result


def choose(hidden: mx.array) -> Choice:
    """What serves rows of this type and number, and why."""
    return dispatch.choose(dispatch.situation("activation", hidden.dtype, rows=hidden.size // hidden.shape[-1]))


def _squared_relu(x: mx.array) -> mx.array:
    return x * mx.maximum(x, 0)


def _swiglu(hidden: mx.array) -> mx.array:
    gate, up = mx.split(hidden, 2, axis=-1)
    return gate * mx.sigmoid(gate) * up


_PLAIN: dict[str, Callable[[mx.array], mx.array]] = {"relu2": _squared_relu, "swiglu": _swiglu}


@functools.cache
def _on_cpu(activation: str) -> Callable[..., Any]:
    """The result, and what its gradient needs beside the input."""
    forward, gradient = _CPU[activation]
    function = mx.custom_function(forward)
    function.vjp(gradient)
    return function


def _squared_relu_forward(x: mx.array) -> list[mx.array]:
    return [x * (0.5 * (x + mx.abs(x)))]


def _squared_relu_gradient(x: mx.array, cotangents: list[mx.array], _: list[mx.array]) -> mx.array:
    return cotangents[0] * (x + mx.abs(x))


def _swiglu_forward(hidden: mx.array) -> list[mx.array]:
    gate, up = mx.split(hidden, 2, axis=-1)
    exponential = shifted_exponential(-mx.abs(gate), mx.array(0.0))
    sigmoid = 0.5 + mx.sign(gate) * (1 - exponential) / (2 + 2 * exponential)
    return [gate * sigmoid * up, sigmoid]


def _swiglu_gradient(hidden: mx.array, cotangents: list[mx.array], outputs: list[mx.array]) -> mx.array:
    gate, up = mx.split(hidden, 2, axis=-1)
    cotangent, sigmoid = cotangents[0], outputs[1]
    gated = gate * sigmoid
    return mx.concatenate([cotangent * up * (sigmoid + gated * (1 - sigmoid)), cotangent * gated], axis=-1)


_CPU: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "relu2": (_squared_relu_forward, _squared_relu_gradient),
    "swiglu": (_swiglu_forward, _swiglu_gradient),
}
