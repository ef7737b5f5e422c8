"""The MLP's activations: squared ReLU and SwiGLU."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.primitives import activate_natively
from mlx_tiny.linux.rows import activate_on_cpu
from mlx_tiny.ops.activation.case import PROOF
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


def _squared_relu(x: mx.array) -> mx.array:
    return x * mx.maximum(x, 0)


def _swiglu(hidden: mx.array) -> mx.array:
    gate, up = mx.split(hidden, 2, axis=-1)
    return gate * mx.sigmoid(gate) * up


_PLAIN: dict[str, Callable[[mx.array], mx.array]] = {"relu2": _squared_relu, "swiglu": _swiglu}


def _activate_plainly(hidden: mx.array, *, activation: str) -> mx.array:
    return _PLAIN[activation](hidden)


def _check(hidden: mx.array, *, activation: str) -> None:
    if activation not in _PLAIN:
        raise TinyError(f"Unknown activation {activation!r}", expected=" or ".join(_PLAIN))


ACTIVATION = Operation(
    name="activation",
    summary="the activation",
    implementations={
        "plain": Implementation(_activate_plainly),
        "cpu": Implementation(activate_on_cpu, in_float32, device="cpu"),
        "native": Implementation(activate_natively, in_cpp, device="cpu"),
    },
    rules=(
        Rule("native", "in C++, for the CPU of this machine", native_rows_on_cpu),
        Rule(
            "cpu",
            "on a CPU it replaces slow comparisons and exponentials by sums and products",
            many_rows_on_cpu,
        ),
        Rule("plain", "MLX fuses it into one kernel"),
    ),
    proof=PROOF,
    dimensions=lambda hidden, **settings: {"rows": rows_of(hidden)},
    check=_check,
)
"""The activation of the MLP.

Args:
    hidden: float32, float16 or bfloat16 [..., F], or [..., 2F] for SwiGLU: first the gate, then x.
    activation: `relu2`, max(x, 0)^2, or `swiglu`, gate sigmoid(gate) x (Shazeer 2020, arXiv 2002.05202).

Returns:
    [..., F] in the dtype of `hidden`.
"""
