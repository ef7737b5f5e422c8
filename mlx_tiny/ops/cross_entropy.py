"""The head's product and the cross-entropy of its logits, plain and for the CPU.

The CPU's keeps E = exp(Z - max) of the logits Z = h W^T from the forward pass. With row sums l and a cotangent g a row,
the logits' gradient is g (E / l - [v = y]) = (g / l) R with R = E - l [v = y], so that dh = (g / l) (R W) and
dW = R^T ((g / l) h). R is formed before the products: where a model is certain, R is small and E is not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.linux.exponential import shifted_exponential
from mlx_tiny.linux.rows import apart, row_maximum, row_sum
from mlx_tiny.ops import dispatch

IMPLEMENTATIONS = ("auto", "plain", "cpu")


def head_cross_entropy(
    hidden_ND: mx.array, head_VD: mx.array, target_N: mx.array, *, implementation: str = "auto"
) -> mx.array:
    """Negative log-likelihood of each target under softmax(hidden head^T).

    Args:
        hidden_ND: [N, D], float32 or bfloat16.
        head_VD: [V, D], same dtype.
        target_N: integer [N], 0 to V-1.
        implementation: `plain`, `cpu` (float32), or `auto`: what `ops/dispatch.py` chooses.

    Returns:
        float32 [N], nats.

    Raises:
        TinyError: an unknown implementation, or one that does not take the type.
    """
    implementation = dispatch.resolved(
        "the cross-entropy",
        implementation,
        IMPLEMENTATIONS,
        hidden_ND.dtype,
        lambda: dispatch.choose(dispatch.situation("cross-entropy", hidden_ND.dtype)),
    )
    if implementation == "cpu":
        losses_N: mx.array = _on_cpu()(hidden_ND, head_VD, target_N)[0]
        return losses_N
    logits_NV = (hidden_ND @ head_VD.T).astype(mx.float32)
    target_logit_N = mx.take_along_axis(logits_NV, target_N[:, None], axis=-1)[:, 0]
    return mx.logsumexp(logits_NV, axis=-1) - target_logit_N


@functools.cache
def _on_cpu() -> Callable[..., Any]:
    """Losses, and what the gradient needs of the forward pass: R and the row sums."""
    function = mx.custom_function(_forward)
    function.vjp(_gradient)
    return function


def _forward(hidden_ND: mx.array, head_VD: mx.array, target_N: mx.array) -> list[mx.array]:
    logits_NV = hidden_ND @ head_VD.T
    largest_N1 = row_maximum(logits_NV)
    exponential_NV = shifted_exponential(logits_NV, largest_N1)
    sum_N1 = row_sum(exponential_NV)
    target_logit_N1 = mx.take_along_axis(logits_NV, target_N[:, None], axis=-1)
    loss_N1 = mx.log(sum_N1) + largest_N1 - target_logit_N1
    residual_NV = exponential_NV.at[mx.arange(target_N.size), target_N].add(-sum_N1[:, 0])
    return [loss_N1[:, 0], residual_NV, sum_N1]


def _gradient(
    primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]
) -> tuple[mx.array, mx.array, mx.array]:
    hidden_ND, head_VD, target_N = primals
    _, residual_NV, sum_N1 = outputs
    share_N1 = apart(cotangents[0][:, None] / sum_N1)
    return share_N1 * (residual_NV @ head_VD), residual_NV.T @ (share_N1 * hidden_ND), mx.zeros_like(target_N)
