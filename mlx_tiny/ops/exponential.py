"""exp(x - shift) for the CPU, where MLX computes `mx.exp` one number at a time.

On x86-64 `mx.exp` takes about 10 ns a number. A Taylor polynomial of the argument over 2^4, squared four times, has
only products and sums, which g++ turns into vector code when MLX compiles the function: 1.5 ns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx

from mlx_tiny.ops.runtime import why_not_compiled

_SQUARINGS = 4
# Down to here the polynomial of degree 6 falls with its argument; exp(-32) is 1e-14, beside the 1 in every shifted row.
_LOWEST = -32.0
# What the polynomial gives there (exp(-32) is 1.3e-14): taken off everywhere, so that masked scores weigh nothing.
_FLOOR = 1.1753451e-13


def shifted_exponential(x: mx.array, shift: mx.array) -> mx.array:
    """exp(x - shift), for x <= shift.

    The absolute error is below 2e-6 where the largest value is 1; under exp(-32) results come out as 0.
    Gradients do not pass: the operations that use it have their own.

    Args:
        x: float32 of any shape.
        shift: float32 that broadcasts against x.
    """
    result: mx.array = _implementation()(x, shift)
    return result


@functools.cache
def _implementation() -> Callable[[mx.array, mx.array], mx.array]:
    if why_not_compiled() is not None:
        return lambda x, shift: mx.exp(x - shift)
    compiled: Callable[[mx.array, mx.array], mx.array] = mx.compile(_by_polynomial)
    return compiled


def _by_polynomial(x: mx.array, shift: mx.array) -> mx.array:
    # max(x, lowest) written without `maximum`, whose test for NaN keeps g++ from vector code.
    above = x - shift - _LOWEST
    y = (0.5 * (above + mx.abs(above)) + _LOWEST) / 2**_SQUARINGS
    power: mx.array = 1 + y * (1 + y * (1 / 2 + y * (1 / 6 + y * (1 / 24 + y * (1 / 120 + y * (1 / 720))))))
    for _ in range(_SQUARINGS):
        power = power * power
    return power - _FLOOR


def row_maximum(x: mx.array) -> mx.array:
    """Largest number of each row, [..., 1]; long rows are halved by whole comparisons, which are vector code."""
    while x.shape[-1] > 64 and x.shape[-1] % 2 == 0:
        x = mx.maximum(*mx.split(x, 2, axis=-1))
    return mx.max(x, axis=-1, keepdims=True)
