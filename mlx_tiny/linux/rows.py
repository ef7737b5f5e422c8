"""Operations on rows for the CPU, with gradients of their own: norms, activations, and the head with its loss.

On a CPU, MLX computes sums, maxima, exponentials and comparisons within a row one number at a time. Here they become
vector code: a sum is a product with ones, a maximum compares whole quarters of the rows, max(x, 0) is (x + |x|) / 2,
and an exponential is a polynomial of the argument divided by 2^4, squared four times, which g++ turns into vector code
when MLX compiles the function (on x86-64 1.5 ns per number instead of 10).

The formulas of norms are those of `ops/norm` and `ops/qk_norm_rope`. With e = exp(-|x|), sigmoid(x) is
1/2 + sign(x) (1 - e) / (2 + 2 e). The head keeps E = exp(Z - max) of the logits Z = h W^T from the forward pass. With
row sums l and a cotangent g per row, the logits' gradient is g (E / l - [v = y]) = (g / l) R with R = E - l [v = y], so
that dh = (g / l) (R W) and dW = R^T ((g / l) h). R is computed before the products: where a model is certain, R is
small and E is not, so that a difference of two products with E would lose digits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.linux.lanes import compiled_function, why_not_compiled

# Shorter rows are not worth dividing.
_SHORT = 16
# Longer rows are summed in parts: added to a sum near 1, each number below 6e-8 is lost, and there may be thousands.
_LONGEST_SUM = 256

_SQUARINGS = 4
# Of all polynomials of degree 6 that are 1 at 0, the closest to exp on [-1, 0]: its error is 2.7e-8, below the rounding
# down to exp(-16). Taylor's polynomial is 1e-4 too large at exp(-10), and a sum over a vocabulary adds that up.
_COEFFICIENTS = (1.0, 0.9999985471, 0.4999738928, 0.1665062159, 0.0412022990, 0.0076336985, 0.00084172062)
# Above this the polynomial rises with its argument. exp(-32) is 1e-14, and every shifted row contains a 1.
_LOWEST = -32.0
# The value of the polynomial there. It is subtracted from every result, so that masked scores get exactly 0.
_FLOOR = 1.4829978e-14


def normalize_on_cpu(x: mx.array, *, epsilon: float) -> mx.array:
    """The operation `norm`, float32."""
    normalized: mx.array = _norm(epsilon)(x)[0]
    return normalized


@functools.cache
def _norm(epsilon: float) -> Callable[..., Any]:
    """Returns the result, and the inverse root mean squares for the gradient."""

    def forward(x: mx.array) -> list[mx.array]:
        inverse = materialized(mx.rsqrt(row_sum(mx.square(x)) / x.shape[-1] + epsilon))
        return [x * inverse, inverse]

    def gradient(_: mx.array, cotangents: list[mx.array], outputs: list[mx.array]) -> mx.array:
        normalized, inverse = outputs
        mean = materialized(row_sum(cotangents[0] * normalized) / normalized.shape[-1])
        return (cotangents[0] - normalized * mean) * inverse

    function = mx.custom_function(forward)
    function.vjp(gradient)
    return function


def turn_on_cpu(x_BTHK: mx.array, weight_K: mx.array, tables: tuple[mx.array, mx.array], epsilon: float) -> mx.array:
    """The part of the operation `qk_norm_rope` for the query heads or for the key heads, float32 [B, T, H, K]."""
    rotated_BTHK: mx.array = _turn(epsilon)(x_BTHK, weight_K, *tables)[0]
    return rotated_BTHK


@functools.cache
def _turn(epsilon: float) -> Callable[..., Any]:
    """Returns the result, and for the gradient the rows in the order [B, H, T, K] and the inverses of their norms."""

    def forward(x_BTHK: mx.array, weight_K: mx.array, cosine: mx.array, sine: mx.array) -> list[mx.array]:
        x_BHTK = mx.contiguous(x_BTHK.swapaxes(1, 2))
        inverse_BHT1 = materialized(mx.rsqrt(row_sum(mx.square(x_BHTK)) / x_BHTK.shape[-1] + epsilon))
        straight, crossed = _signed(cosine, sine, 1)
        rotated_BHTK = materialized(
            x_BHTK * materialized(weight_K * straight)
            + _exchanged(x_BHTK) * materialized(_exchanged(weight_K) * crossed)
        )
        return [(rotated_BHTK * inverse_BHT1).swapaxes(1, 2), x_BHTK, inverse_BHT1]

    def gradient(primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]) -> list[mx.array]:
        _, weight_K, cosine, sine = primals
        _, x_BHTK, inverse_BHT1 = outputs
        K = x_BHTK.shape[-1]
        cotangent_BHTK = cotangents[0].swapaxes(1, 2)
        straight, crossed = _signed(cosine, sine, -1)
        turned_back = materialized(cotangent_BHTK * straight + _exchanged(cotangent_BHTK) * crossed)
        product = turned_back * x_BHTK
        share_BHT1 = materialized((product @ weight_K[:, None]) * mx.square(inverse_BHT1) / K)
        x_gradient = (turned_back * weight_K - x_BHTK * share_BHT1) * inverse_BHT1
        norm_weight_gradient = product.reshape(-1, K).T @ inverse_BHT1.reshape(-1, 1)
        return [x_gradient.swapaxes(1, 2), norm_weight_gradient[:, 0], mx.zeros_like(cosine), mx.zeros_like(sine)]

    function = mx.custom_function(forward)
    function.vjp(gradient)
    return function


def _signed(cosine: mx.array, sine: mx.array, direction: int) -> tuple[mx.array, mx.array]:
    """Factors [T, K] of a row, and of the row with its halves exchanged; direction -1 rotates back."""
    cosine_TK, sine_TK = (table.reshape(table.shape[0], -1) for table in (cosine, direction * sine))
    return mx.concatenate([cosine_TK, cosine_TK], axis=-1), mx.concatenate([-sine_TK, sine_TK], axis=-1)


def _exchanged(x: mx.array) -> mx.array:
    first, second = mx.split(x, 2, axis=-1)
    return mx.concatenate([second, first], axis=-1)


def activate_on_cpu(hidden: mx.array, *, activation: str) -> mx.array:
    """The operation `activation`, float32."""
    result: mx.array = _activation(activation)(hidden)[0]
    return result


@functools.cache
def _activation(activation: str) -> Callable[..., Any]:
    """Returns the result, and what the gradient needs beside the input."""
    forward, gradient = _ACTIVATIONS[activation]
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


_ACTIVATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "relu2": (_squared_relu_forward, _squared_relu_gradient),
    "swiglu": (_swiglu_forward, _swiglu_gradient),
}


def head_cross_entropy_on_cpu(hidden_ND: mx.array, head_VD: mx.array, target_N: mx.array) -> mx.array:
    """The operation `cross_entropy`, float32."""
    losses_N: mx.array = _cross_entropy()(hidden_ND, head_VD, target_N)[0]
    return losses_N


@functools.cache
def _cross_entropy() -> Callable[..., Any]:
    """Returns the losses, and for the gradient R and the row sums."""
    function = mx.custom_function(_losses)
    function.vjp(logits_gradient)
    return function


def _losses(hidden_ND: mx.array, head_VD: mx.array, target_N: mx.array) -> list[mx.array]:
    logits_NV = hidden_ND @ head_VD.T
    largest_N1 = row_maximum(logits_NV)
    exponential_NV = shifted_exponential(logits_NV, largest_N1)
    sum_N1 = row_sum(exponential_NV)
    target_logit_N1 = mx.take_along_axis(logits_NV, target_N[:, None], axis=-1)
    loss_N1 = mx.log(sum_N1) + largest_N1 - target_logit_N1
    residual_NV = exponential_NV.at[mx.arange(target_N.size), target_N].add(-sum_N1[:, 0])
    return [loss_N1[:, 0], residual_NV, sum_N1]


def logits_gradient(
    primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]
) -> tuple[mx.array, mx.array, mx.array]:
    hidden_ND, head_VD, target_N = primals
    _, residual_NV, sum_N1 = outputs
    share_N1 = materialized(cotangents[0][:, None] / sum_N1)
    return share_N1 * (residual_NV @ head_VD), residual_NV.T @ (share_N1 * hidden_ND), mx.zeros_like(target_N)


def row_sum(x: mx.array) -> mx.array:
    """Sum of each row of float32 [..., n], [..., 1]."""
    n = x.shape[-1]
    if n > _LONGEST_SUM and (length := _nearest_divisor(n)) > 1:
        x = row_sum(x.reshape(*x.shape[:-1], n // length, length))[..., 0]
    return x @ mx.ones((x.shape[-1], 1))


def _nearest_divisor(n: int) -> int:
    """The largest divisor of n that is at most its square root."""
    return max(d for d in range(1, math.isqrt(n) + 1) if n % d == 0)


def row_maximum(x: mx.array) -> mx.array:
    """Largest number of each row of float32 [..., n], [..., 1]."""
    while x.shape[-1] > _SHORT and x.shape[-1] % 4 == 0:
        first, second, third, fourth = mx.split(x, 4, axis=-1)
        x = mx.maximum(mx.maximum(first, second), mx.maximum(third, fourth))
    return mx.max(x, axis=-1, keepdims=True)


def materialized(x: mx.array) -> mx.array:
    """`x`, stored in memory before it is used.

    Otherwise a compiled graph computes it inside the loop that uses it: a number per row, such as the inverse of its
    norm, would be computed again for each entry of the row.
    """
    return mx.contiguous(x)


def shifted_exponential(x: mx.array, shift: mx.array) -> mx.array:
    """exp(x - shift), for x <= shift.

    Down to exp(-16) the relative error is below 6e-6, from rounding that the squarings multiply; the absolute error is
    below 2e-6 everywhere, and below exp(-32) the result is 0. It has no gradient: the operations that use it define
    their own.

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
    return compiled_function(_by_polynomial)


def _by_polynomial(x: mx.array, shift: mx.array) -> mx.array:
    # Not `mx.maximum`, because its test for NaN costs an eighth of the time.
    difference = x - shift
    y = mx.where(difference > _LOWEST, difference, _LOWEST) / 2**_SQUARINGS
    power: mx.array = _COEFFICIENTS[-1] * y
    for coefficient in reversed(_COEFFICIENTS[1:-1]):
        power = (power + coefficient) * y
    power = power + _COEFFICIENTS[0]
    for _ in range(_SQUARINGS):
        power = power * power
    return power - _FLOOR
