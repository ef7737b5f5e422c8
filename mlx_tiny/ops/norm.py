"""RMSNorm without a weight (Zhang and Sennrich 2019, arXiv 1910.07467): MLX's built-in, and one for the CPU.

With r = 1 / sqrt(mean(x^2) + epsilon) the result is y = r x, and the gradient for a cotangent d is r (d - y mean(d y)).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.linux.rows import apart, row_sum
from mlx_tiny.ops import dispatch
from mlx_tiny.ops.dispatch import Choice

IMPLEMENTATIONS = ("auto", "mlx", "cpu")


def rms_norm(x: mx.array, epsilon: float, *, implementation: str = "auto") -> mx.array:
    """Rows divided by their root mean square.

    Args:
        x: float32, float16 or bfloat16 [..., D].
        epsilon: added to the mean square, above 0.
        implementation: `mlx` (`mx.fast.rms_norm`), `cpu` (float32), or `auto`: what `ops/dispatch.py` chooses.

    Returns:
        The shape and dtype of `x`; computed in float32.

    Raises:
        TinyError: an unknown implementation, or one that does not take the type.
    """
    implementation = dispatch.resolved("RMSNorm", implementation, IMPLEMENTATIONS, x.dtype, lambda: choose(x))
    if implementation == "mlx":
        return mx.fast.rms_norm(x, None, epsilon)
    normalized: mx.array = _on_cpu(epsilon)(x)[0]
    return normalized


def choose(x: mx.array) -> Choice:
    """What serves rows of this type and number, and why."""
    return dispatch.choose(dispatch.situation("norm", x.dtype, rows=x.size // x.shape[-1]))


@functools.cache
def _on_cpu(epsilon: float) -> Callable[..., Any]:
    """The result, and the inverse root mean squares for its gradient."""

    def forward(x: mx.array) -> list[mx.array]:
        inverse = apart(mx.rsqrt(row_sum(mx.square(x)) / x.shape[-1] + epsilon))
        return [x * inverse, inverse]

    def gradient(_: mx.array, cotangents: list[mx.array], outputs: list[mx.array]) -> mx.array:
        normalized, inverse = outputs
        mean = apart(row_sum(cotangents[0] * normalized) / normalized.shape[-1])
        return (cotangents[0] - normalized * mean) * inverse

    function = mx.custom_function(forward)
    function.vjp(gradient)
    return function
