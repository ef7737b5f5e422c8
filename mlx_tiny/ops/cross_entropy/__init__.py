"""The head, and the cross-entropy of its logits."""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.linux.primitives import head_cross_entropy_natively
from mlx_tiny.linux.rows import head_cross_entropy_on_cpu
from mlx_tiny.ops.cross_entropy.case import PROOF
from mlx_tiny.ops.operation import Implementation, Operation, Rule, in_cpp, in_float32, rows_of


def _plainly(hidden_ND: mx.array, head_VD: mx.array, target_N: mx.array) -> mx.array:
    return losses_of_logits((hidden_ND @ head_VD.T).astype(mx.float32), target_N)


def losses_of_logits(logits_NV: mx.array, target_N: mx.array) -> mx.array:
    """The losses from logits, float32 [N, V]; used if an option of the model changes the logits."""
    target_logit_N = mx.take_along_axis(logits_NV, target_N[:, None], axis=-1)[:, 0]
    return mx.logsumexp(logits_NV, axis=-1) - target_logit_N


CROSS_ENTROPY = Operation(
    name="cross_entropy",
    summary="the cross-entropy",
    implementations={
        "plain": Implementation(_plainly),
        "cpu": Implementation(head_cross_entropy_on_cpu, in_float32, device="cpu"),
        "native": Implementation(head_cross_entropy_natively, in_cpp, device="cpu"),
    },
    rules=(
        Rule(
            "native",
            "in C++, it takes the exponentials of logits while these are in the CPU's cache",
            lambda s: s.kind == "cpu" and in_cpp(s) is None,
        ),
        Rule(
            "cpu",
            "on a CPU it computes exponentials once for loss and gradient, and sums rows by products",
            lambda s: s.kind == "cpu" and s.dtype == "float32",
        ),
        Rule("plain", "MLX has a kernel for the logarithm of the sum of exponentials"),
    ),
    proof=PROOF,
    dimensions=lambda hidden, *others, **settings: {"rows": rows_of(hidden)},
)
"""Negative log-likelihood of each target under softmax(hidden head^T).

Args:
    hidden_ND: [N, D], float32, float16 or bfloat16.
    head_VD: [V, D], same dtype.
    target_N: integer [N], 0 to V-1.

Returns:
    float32 [N], nats.
"""
