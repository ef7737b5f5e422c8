"""The head's product and the cross-entropy of its logits, plain and for the CPU.

The CPU's keeps E = exp(Z - max) of the logits Z = h W^T from the forward pass. With row sums l and a cotangent g a row,
its gradients need no array of the logits' size: dh = (g / l) (E W) - g W[y] and dW = E^T ((g / l) h) - scatter(y, g h).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from mlx_tiny.errors import TinyError
from mlx_tiny.ops.exponential import row_maximum, shifted_exponential
from mlx_tiny.ops.runtime import on_cpu


def head_cross_entropy(
    hidden_ND: mx.array, head_VD: mx.array, target_N: mx.array, *, implementation: str = "auto"
) -> mx.array:
    """Negative log-likelihood of each target under softmax(hidden head^T).

    Args:
        hidden_ND: [N, D], float32 or bfloat16.
        head_VD: [V, D], same dtype.
        target_N: integer [N], 0 to V-1.
        implementation: `plain`, `cpu` (float32), or `auto`: `cpu` on a CPU in float32, `plain` otherwise.

    Returns:
        float32 [N], nats.

    Raises:
        TinyError: an unknown implementation, or one that does not take the type.
    """
    if implementation == "auto":
        implementation = "cpu" if on_cpu() and hidden_ND.dtype == mx.float32 else "plain"
    if implementation not in ("plain", "cpu"):
        raise TinyError(
            f"Unknown implementation {implementation!r} of the cross-entropy", expected="auto, plain or cpu"
        )
    if implementation == "cpu" and hidden_ND.dtype != mx.float32:
        raise TinyError("The cross-entropy's implementation 'cpu' takes float32", got=hidden_ND.dtype)
    if implementation == "cpu":
        losses_N: mx.array = _on_cpu()(hidden_ND, head_VD, target_N)[0]
        return losses_N
    logits_NV = (hidden_ND @ head_VD.T).astype(mx.float32)
    target_logit_N = mx.take_along_axis(logits_NV, target_N[:, None], axis=-1)[:, 0]
    return mx.logsumexp(logits_NV, axis=-1) - target_logit_N


@functools.cache
def _on_cpu() -> Callable[..., Any]:
    """Losses, and what the gradient needs of the forward pass: E, its row sums, and the targets' rows of the head."""
    function = mx.custom_function(_forward)
    function.vjp(_gradient)
    return function


def _forward(hidden_ND: mx.array, head_VD: mx.array, target_N: mx.array) -> list[mx.array]:
    logits_NV = hidden_ND @ head_VD.T
    largest_N1 = row_maximum(logits_NV)
    exponential_NV = shifted_exponential(logits_NV, largest_N1)
    sum_N1 = mx.sum(exponential_NV, axis=-1, keepdims=True)
    target_row_ND = head_VD[target_N]
    target_logit_N = mx.sum(hidden_ND * target_row_ND, axis=-1)
    return [(mx.log(sum_N1) + largest_N1)[:, 0] - target_logit_N, exponential_NV, sum_N1, target_row_ND]


def _gradient(
    primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]
) -> tuple[mx.array, mx.array, mx.array]:
    hidden_ND, head_VD, target_N = primals
    _, exponential_NV, sum_N1, target_row_ND = outputs
    weight_N1 = cotangents[0][:, None]
    share_N1 = weight_N1 / sum_N1
    hidden_gradient = share_N1 * (exponential_NV @ head_VD) - weight_N1 * target_row_ND
    head_gradient = exponential_NV.T @ (share_N1 * hidden_ND)
    head_gradient = head_gradient.at[target_N].add(-weight_N1 * hidden_ND)
    return hidden_gradient, head_gradient, mx.zeros_like(target_N)
