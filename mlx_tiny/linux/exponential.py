"""exp(x - shift) for the CPU, where MLX computes `mx.exp` one number at a time.

On x86-64 `mx.exp` takes about 10 ns a number. A polynomial of the argument over 2^4, squared four times, has only
products and sums, which g++ turns into vector code when MLX compiles the function: 1.5 ns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import mlx.core as mx

from mlx_tiny.linux.lanes import why_not_compiled

_SQUARINGS = 4
# 1 at 0, and of degree 6 the closest to exp on [-1, 0]: within 2.7e-8, so that down to exp(-16) the error is rounding.
# Taylor's is 1e-4 off at exp(-10), always upwards, which a sum over a vocabulary adds up.
_COEFFICIENTS = (1.0, 0.9999985471, 0.4999738928, 0.1665062159, 0.0412022990, 0.0076336985, 0.00084172062)
# Down to here the polynomial falls with its argument; exp(-32) is 1e-14, beside the 1 in every shifted row.
_LOWEST = -32.0
# What the polynomial gives there (exp(-32) is 1.3e-14): taken off everywhere, so that masked scores weigh nothing.
_FLOOR = 1.4829978e-14


def shifted_exponential(x: mx.array, shift: mx.array) -> mx.array:
    """exp(x - shift), for x <= shift.

    The relative error is below 6e-6 down to exp(-16), from rounding that the squarings raise; the absolute
    one is below 2e-6, and under exp(-32) results come out as 0.
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
    # Not `maximum`, whose test for NaN costs an eighth of it all.
    difference = x - shift
    y = mx.where(difference > _LOWEST, difference, _LOWEST) / 2**_SQUARINGS
    power: mx.array = _COEFFICIENTS[-1] * y
    for coefficient in reversed(_COEFFICIENTS[1:-1]):
        power = (power + coefficient) * y
    power = power + _COEFFICIENTS[0]
    for _ in range(_SQUARINGS):
        power = power * power
    return power - _FLOOR
