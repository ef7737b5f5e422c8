"""How RMSNorm is checked and timed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from mlx_tiny.ops.inputs import model_of, small
from mlx_tiny.ops.operation import DTYPES, ArraySpec, Case, Exact, Proof, Rival, Settings, Special


def _cases() -> Iterator[Case]:
    for special, dtype in itertools.product(("", *_SPECIALS), DTYPES):
        yield Case(model_of(context=7), 2, dtype, special)


# Compared with the mean square of these rows, the norm's epsilon matters.
_SPECIALS = {"rows of size 0.001": Special(lambda arrays: {**arrays, "x": small(arrays["x"])})}


def _rows(case: Case) -> ArraySpec:
    return ArraySpec((case.batch, case.model.context, case.model.width))


def _formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    x, cotangent = inputs["x"], cotangents["output"]
    inverse = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + settings["epsilon"])
    normalized = x * inverse
    mean = (cotangent * normalized).mean(axis=-1, keepdims=True)
    return {"output": normalized, "gradient of x": inverse * (cotangent - normalized * mean)}


def _by_torch(inputs: dict[str, Any], case: Case) -> dict[str, Any]:
    from torch.nn.functional import rms_norm

    return {"output": rms_norm(inputs["x"], (case.model.width,), None, case.model.norm_epsilon)}


PROOF = Proof(
    label=lambda case: f"N{case.rows} D{case.model.width}",
    inputs=lambda case: {"x": _rows(case)},
    outputs=lambda case: {"output": _rows(case)},
    settings=lambda case: {"epsilon": case.model.norm_epsilon},
    formula=_formula,
    cases=_cases,
    entries=("norm", "norm"),
    # Square, sum and scale.
    flops=lambda case, both: float((3 if both else 1) * 3 * case.rows * case.model.width),
    specials=_SPECIALS,
    rivals={"torch": Rival(_by_torch)},
)
