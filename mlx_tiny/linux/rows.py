"""Operations on rows for the CPU, with gradients of their own: norms, activations, and the head with its loss.

MLX computes sums, maxima, exponentials and comparisons of a row one number at a time. Here they are vector code: a sum
is a product with ones, a maximum compares whole quarters of the rows, max(x, 0) is (x + |x|) / 2, and an exponential is
a polynomial of the argument over 2^4, squared four times, which g++ turns into vector code when MLX compiles the
function (on x86-64 1.5 ns per number instead of 10).

The formulas of norms are those of `ops/norm` and `ops/qk_norm_rope`. With e = exp(-|x|), sigmoid(x) is
1/2 + sign(x) (1 - e) / (2 + 2 e). The head keeps E = exp(Z - max) of the logits Z = h W^T from the forward pass. With
row sums l and a cotangent g per row, the logits' gradient is g (E / l - [v = y]) = (g / l) R with R = E - l [v = y], so
that dh = (g / l) (R W) and dW = R^T ((g / l) h). R is formed before the products: where a model is certain, R is small
and E is not.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.linux.lanes import why_not_compiled

# Shorter rows are not worth cutting.
_SHORT = 16
# Longer rows are summed in parts. Beside a sum near 1 each number below 6e-8 is lost, and a vocabulary has thousands.
_LONGEST_SUM = 256

_SQUARINGS = 4
# 1 at 0, and of degree 6 the closest to exp on [-1, 0]: within 2.7e-8, so that down to exp(-16) the error is rounding.
# Taylor's is 1e-4 off at exp(-10), always upwards, which a sum over a vocabulary adds up.
_COEFFICIENTS = (1.0, 0.9999985471, 0.4999738928, 0.1665062159, 0.0412022990, 0.0076336985, 0.00084172062)
# Down to here the polynomial falls with its argument; exp(-32) is 1e-14, beside the 1 in every shifted row.
_LOWEST = -32.0
# What the polynomial gives there (exp(-32) is 1.3e-14): taken off everywhere, so that masked scores weigh nothing.
_FLOOR = 1.4829978e-14


def normalize_on_cpu(x: mx.array, *, epsilon: float) -> mx.array:
    """The operation `norm`, float32."""
    normalized: mx.array = _norm(epsilon)(x)[0]
    return normalized


@functools.cache
def _norm(epsilon: float) -> Callable[..., Any]:
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


def turn_on_cpu(x_BTHK: mx.array, weight_K: mx.array, tables: tuple[mx.array, mx.array], epsilon: float) -> mx.array:
    """The query or the key heads of the operation `qk_norm_rope`, float32 [B, T, H, K]."""
    rotated_BTHK: mx.array = _turn(epsilon)(x_BTHK, weight_K, *tables)[0]
    return rotated_BTHK


@functools.cache
def _turn(epsilon: float) -> Callable[..., Any]:
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


def activate_on_cpu(hidden: mx.array, *, activation: str) -> mx.array:
    """The operation `activation`, float32."""
    result: mx.array = _activation(activation)(hidden)[0]
    return result


@functools.cache
def _activation(activation: str) -> Callable[..., Any]:
    """The result, and what its gradient needs beside the input."""
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
    """Losses, and what the gradient needs of the forward pass: R and the row sums."""
    function = mx.custom_function(_losses)
    function.vjp(_losses_gradient)
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


def _losses_gradient(
    primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]
) -> tuple[mx.array, mx.array, mx.array]:
    hidden_ND, head_VD, target_N = primals
    _, residual_NV, sum_N1 = outputs
    share_N1 = apart(cotangents[0][:, None] / sum_N1)
    return share_N1 * (residual_NV @ head_VD), residual_NV.T @ (share_N1 * hidden_ND), mx.zeros_like(target_N)


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
