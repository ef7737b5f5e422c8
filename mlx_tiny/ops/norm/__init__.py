"""RMSNorm without a weight (Zhang and Sennrich 2019, arXiv 1910.07467).

With r = 1 / sqrt(mean(x^2) + epsilon) the result is y = r x, and the gradient for a cotangent d is r (d - y mean(d y)).
"""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.linux.primitives import normalize_natively
from mlx_tiny.linux.rows import normalize_on_cpu
from mlx_tiny.ops.norm.case import PROOF
from mlx_tiny.ops.operation import (
    Implementation,
    Operation,
    Rule,
    in_cpp,
    in_float32,
    many_rows_on_cpu,
    native_rows_on_cpu,
    rows_of,
)


def _normalize_plainly(x: mx.array, *, epsilon: float) -> mx.array:
    wide = x.astype(mx.float32)
    return (wide * mx.rsqrt(mx.mean(mx.square(wide), axis=-1, keepdims=True) + epsilon)).astype(x.dtype)


def _normalize_by_mlx(x: mx.array, *, epsilon: float) -> mx.array:
    return mx.fast.rms_norm(x, None, epsilon)


NORM = Operation(
    name="norm",
    summary="RMSNorm",
    implementations={
        "plain": Implementation(_normalize_plainly),
        "mlx": Implementation(_normalize_by_mlx),
        "cpu": Implementation(normalize_on_cpu, in_float32, device="cpu"),
        "native": Implementation(normalize_natively, in_cpp, device="cpu"),
    },
    rules=(
        Rule("native", "in C++, for the CPU of this machine", native_rows_on_cpu),
        Rule(
            "cpu",
            "on a CPU it sums rows by products, and computes the inverse norm once per row",
            many_rows_on_cpu,
        ),
        Rule("mlx", "MLX has a kernel for it and for its gradient"),
    ),
    proof=PROOF,
    dimensions=lambda x, **settings: {"rows": rows_of(x)},
)
"""Rows divided by their root mean square.

Args:
    x: float32, float16 or bfloat16 [..., D].
    epsilon: added to the mean square, above 0.

Returns:
    The shape and dtype of `x`; computed in float32.
"""
