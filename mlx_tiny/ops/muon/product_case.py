"""How symmetric products are checked and timed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.ops.inputs import SPECIALS, model_of
from mlx_tiny.ops.operation import ArraySpec, Case, Exact, Named, Proof, Settings, Special

Array = NDArray[np.float64]

DTYPES = ("float32", "bfloat16")
MODEL = model_of()

# [N, rows, columns] around the tiles of 32 and 64, and the largest bank of the preset `tiny`.
_BANKS = ((1, 1, 1), (3, 7, 33), (2, 65, 31), (1, 130, 70), (1, 257, 300), (4, 64, 256))
_SPECIAL_BANK = (2, 65, 31)


def bank_case(bank: tuple[int, int, int], dtype: str, special: str = "", **options: Any) -> Case:
    """A case of one bank of matrices [N, rows, columns]."""
    return Case(MODEL, dtype=dtype, special=special, options={"bank": bank, **options})


def _product_cases() -> Iterator[Case]:
    for bank, dtype in itertools.product(_BANKS, DTYPES):
        yield bank_case(bank, dtype)
    for special, dtype in itertools.product(_PRODUCT_SPECIALS, DTYPES):
        yield bank_case(_SPECIAL_BANK, dtype, special)


def _product_inputs(case: Case) -> dict[str, ArraySpec]:
    N, R, C = case.options["bank"]

    def symmetric() -> Array:
        half = np.random.default_rng(R).standard_normal((N, R, R))
        whole: Array = half + half.swapaxes(1, 2)
        return whole

    bank = ArraySpec((N, R, C), differentiable=False, by_sequence=False)
    addend = ArraySpec((N, R, R), values=symmetric, differentiable=False, by_sequence=False)
    return {"bank": bank, "addend": addend} if case.options.get("adds", True) else {"bank": bank}


def _product_outputs(case: Case) -> dict[str, ArraySpec]:
    N, R, _ = case.options["bank"]
    return {"product": ArraySpec((N, R, R), by_sequence=False)}


def _product_settings(case: Case) -> dict[str, Any]:
    return {"alpha": 0.7, "beta": -1.3, "blocks": case.options.get("blocks")}


def _product_formula(inputs: Exact, cotangents: Exact, settings: Settings) -> Exact:
    x_NRC = inputs["bank"]
    product = settings["alpha"] * x_NRC @ x_NRC.swapaxes(1, 2)
    return {"product": product + settings["beta"] * inputs["addend"] if "addend" in inputs else product}


def _nan_behind(arrays: Named) -> Named:
    """The matrix after the others is NaN, so that reading beyond the end of a matrix fails."""
    bank = arrays["bank"]
    last = mx.arange(len(bank))[:, None, None] == len(bank) - 1
    return {**arrays, "bank": mx.where(last, mx.array(float("nan"), dtype=bank.dtype), bank)}


_PRODUCT_SPECIALS = {**SPECIALS, "NaN in the next matrix": Special(_nan_behind)}


def _every_tile(dtype: str) -> Iterator[Case]:
    """The kernel is compiled for each tile size, with and without an addend."""
    for blocks, adds in itertools.product((2, 4), (False, True)):
        yield bank_case((2, 67, 70), dtype, blocks=blocks, adds=adds)


def _product_label(case: Case) -> str:
    N, R, C = case.options["bank"]
    tile = f", tiles of {16 * case.options['blocks']}" if "blocks" in case.options else ""
    return f"N{N} R{R} C{C}{tile}{'' if case.options.get('adds', True) else ', no addend'}"


def _product_flops(case: Case, both: bool) -> float:
    """FLOPs of one triangle."""
    N, R, C = case.options["bank"]
    return float(N * R * R * C)


SYMMETRIC_PRODUCT = Proof(
    label=_product_label,
    inputs=_product_inputs,
    outputs=_product_outputs,
    settings=_product_settings,
    formula=_product_formula,
    cases=lambda: itertools.chain(_product_cases(), *(_every_tile(dtype) for dtype in DTYPES)),
    entries=("symmetric_product", "symmetric_product"),
    flops=_product_flops,
    specials=_PRODUCT_SPECIALS,
    kernels={"product": "symmetric_product"},
    before_use=lambda situation: _every_tile(situation.dtype),
    differentiable=False,
)
