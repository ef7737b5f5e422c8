"""How the activations are checked and timed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.operation import DTYPES, ArraySpec, Case, Exact, Named, Proof, Rival, Settings, Special


def _cases() -> Iterator[Case]:
    for dtype, kind, special in itertools.product(DTYPES, ("relu2", "swiglu"), ("", *_SPECIALS)):
        yield Case(model_of(context=7, activation=kind), 2, dtype, special)


def _with_zeros(arrays: Named) -> Named:
    hidden = arrays["hidden"]
    return {**arrays, "hidden": mx.where(mx.arange(hidden.shape[-1]) % 9 == 0, mx.zeros_like(hidden), hidden)}


# At zero, the second derivative of squared ReLU jumps, and the sigmoid for the CPU switches formulas.
_SPECIALS = {"zeros": Special(_with_zeros)}


def _inputs(case: Case) -> dict[str, ArraySpec]:
    width = case.model.hidden * (2 if case.model.activation == "swiglu" else 1)
    return {"hidden": ArraySpec((case.batch, case.model.context, width), std=2.0)}


def _formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    hidden, cotangent = inputs["hidden"], cotangents["output"]
    if settings["activation"] == "relu2":
        positive = np.maximum(hidden, 0)
        return {"output": positive**2, "gradient of hidden": 2 * positive * cotangent}
    gate, up = np.split(hidden, 2, axis=-1)
    sigmoid = 1 / (1 + np.exp(-gate))
    slope = sigmoid * (1 + gate * (1 - sigmoid))
    gradient = np.concatenate([cotangent * up * slope, cotangent * gate * sigmoid], axis=-1)
    return {"output": gate * sigmoid * up, "gradient of hidden": gradient}


def _by_torch(inputs: dict[str, Any], case: Case) -> dict[str, Any]:
    from torch.nn.functional import relu, silu

    if case.model.activation == "relu2":
        return {"output": relu(inputs["hidden"]).square()}
    gate, up = inputs["hidden"].chunk(2, dim=-1)
    return {"output": silu(gate) * up}


PROOF = Proof(
    label=lambda case: f"N{case.rows} F{case.model.hidden} {case.model.activation}",
    inputs=_inputs,
    outputs=lambda case: {"output": ArraySpec((case.batch, case.model.context, case.model.hidden))},
    settings=lambda case: {"activation": case.model.activation},
    formula=_formula,
    cases=_cases,
    entries=("activation", "activation"),
    # A comparison and a square, or an exponential, a sum, a quotient and two products.
    flops=lambda case, both: float(
        (3 if both else 1) * case.rows * case.model.hidden * (5 if case.model.activation == "swiglu" else 2)
    ),
    specials=_SPECIALS,
    rivals={"torch": Rival(_by_torch)},
)
