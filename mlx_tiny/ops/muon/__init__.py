"""Muon's part of a step: from gradients and momenta to new momenta and orthogonalised directions."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from mlx_tiny.errors import TinyError
from mlx_tiny.ops.muon import case, product_case
from mlx_tiny.ops.muon.gram import orthogonalize_through_gram
from mlx_tiny.ops.muon.layout import Layout
from mlx_tiny.ops.muon.metal import (
    BLOCKS,
    MOST_ENTRIES,
    MOST_PARAMETERS,
    MOST_PRODUCT_ENTRIES,
    pack_on_metal,
    polynomial_on_metal,
    symmetric_product_on_metal,
)
from mlx_tiny.ops.muon.plain import (
    orthogonalize,
    orthogonalize_plainly,
    pack_plainly,
    symmetric_product_plainly,
    update,
)
from mlx_tiny.ops.operation import Implementation, Operation, Rule, Situation

_orthogonalize_on_metal = functools.partial(orthogonalize, polynomial=polynomial_on_metal)
# The first generation whose GPU has matrix units that MLX's products use, and simdgroup matrices do not.
_MATRIX_UNITS_GENERATION = 5


def check_bank(bank_NRC: mx.array, **settings: object) -> None:
    """Check that the argument is a bank of matrices, in float32 or bfloat16.

    Raises:
        TinyError: it is not.
    """
    if bank_NRC.ndim != 3 or bank_NRC.size == 0:
        raise TinyError(
            "Newton-Schulz needs a bank of matrices", expected="[N, rows, columns], none of them 0", got=bank_NRC.shape
        )
    if bank_NRC.dtype not in (mx.float32, mx.bfloat16):
        raise TinyError(
            "Newton-Schulz needs float32 or bfloat16",
            expected="mlx.core.float32 or mlx.core.bfloat16",
            got=bank_NRC.dtype,
            remedy="Convert the bank first; float16 would overflow",
        )


def check_product(
    bank_NRC: mx.array,
    addend_NRR: mx.array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    blocks: int | None = None,
) -> None:
    """Check the arguments of symmetric products.

    Raises:
        TinyError: shapes or dtypes do not fit, or there are 2^32 entries or more.
    """
    check_bank(bank_NRC)
    N, R, _ = bank_NRC.shape
    if addend_NRR is not None and (addend_NRR.shape != (N, R, R) or addend_NRR.dtype != bank_NRC.dtype):
        raise TinyError(
            f"The addend does not fit the symmetric products of a bank {bank_NRC.shape}",
            expected=f"{(N, R, R)} of {bank_NRC.dtype}",
            got=f"{addend_NRR.shape} of {addend_NRR.dtype}",
        )
    if blocks not in (None, *BLOCKS):
        raise TinyError(
            "The kernel of symmetric products has no such tile",
            expected=f"{' or '.join(map(str, BLOCKS))} blocks of 16 rows",
            got=blocks,
        )
    if N * R * max(R, bank_NRC.shape[2]) >= MOST_PRODUCT_ENTRIES:
        raise TinyError(
            f"The kernel of symmetric products cannot count {MOST_PRODUCT_ENTRIES} entries",
            expected=f"fewer than {MOST_PRODUCT_ENTRIES} in the bank and in its products",
            got=bank_NRC.shape,
            remedy="Use 'plain'",
        )


def check_packing(
    gradients: Sequence[mx.array],
    momenta: Sequence[mx.array],
    mu: mx.array,
    *,
    layout: Layout,
    dtype: mx.Dtype = mx.float32,
) -> None:
    """Check the arguments of the packing.

    Raises:
        TinyError: shapes or dtypes do not fit the layout.
    """
    if dtype not in (mx.float32, mx.bfloat16):
        raise TinyError("Muon's banks are float32 or bfloat16", expected="one of these", got=dtype)
    for kind, arrays in (("gradients", gradients), ("momenta", momenta)):
        shapes = tuple(array.shape for array in arrays)
        if shapes != layout.shapes or any(array.dtype != mx.float32 for array in arrays):
            raise TinyError(
                f"Muon's {kind} do not fit its layout",
                expected=f"float32 {layout.shapes}",
                got=f"{sorted({str(array.dtype) for array in arrays})} {shapes}",
            )


def _dimensions(*arrays: Any, layout: Layout, **settings: Any) -> dict[str, int]:
    return {"parameters": len(layout.shapes), "entries": sum(math.prod(bank) for bank in layout.banks)}


def _for_kernels(here: Situation) -> str | None:
    if here["parameters"] > MOST_PARAMETERS:
        return f"up to {MOST_PARAMETERS} parameters"
    return None if here["entries"] <= MOST_ENTRIES else f"up to {MOST_ENTRIES} entries"


MUON_PACK = Operation(
    name="muon_pack",
    summary="Muon's packing",
    implementations={
        "plain": Implementation(pack_plainly),
        "metal": Implementation(pack_on_metal, _for_kernels, device="metal"),
    },
    proof=case.MUON_PACK,
    dimensions=_dimensions,
    check=check_packing,
)
"""New momenta, and the look-ahead of all matrices in banks.

Args:
    gradients, momenta: float32, of the layout's shapes.
    mu: float32 scalar, the momentum factor.
    layout: from `make_layout`.
    dtype: of the banks, float32 or bfloat16.
"""

SYMMETRIC_PRODUCT = Operation(
    name="symmetric_product",
    summary="symmetric products",
    implementations={
        "plain": Implementation(symmetric_product_plainly),
        "metal": Implementation(symmetric_product_on_metal, device="metal"),
    },
    proof=product_case.SYMMETRIC_PRODUCT,
    check=check_product,
)
"""alpha X X^T + beta addend for every matrix of a bank; see `metal.symmetric_product_on_metal`."""

NEWTON_SCHULZ = Operation(
    name="newton_schulz",
    summary="Newton-Schulz iterations",
    implementations={
        "plain": Implementation(orthogonalize_plainly),
        "cpu": Implementation(orthogonalize_through_gram, device="cpu"),
        "metal": Implementation(_orthogonalize_on_metal, device="metal"),
    },
    proof=case.NEWTON_SCHULZ,
    check=check_bank,
)
"""Orthogonalisation of the matrices of a bank; see `plain.orthogonalize`."""

MUON = Operation(
    name="muon",
    summary="Muon's update",
    implementations={
        "plain": Implementation(functools.partial(update, pack=pack_plainly, orthogonalize=orthogonalize_plainly)),
        "cpu": Implementation(
            functools.partial(update, pack=pack_plainly, orthogonalize=orthogonalize_through_gram), device="cpu"
        ),
        "metal": Implementation(
            functools.partial(update, pack=pack_on_metal, orthogonalize=_orthogonalize_on_metal),
            _for_kernels,
            device="metal",
        ),
    },
    rules=(
        Rule("cpu", "fewer multiply-adds where a side is twice the other", lambda s: s.kind == "cpu"),
        Rule("plain", "the kernels need Metal", lambda s: s.kind != "metal"),
        Rule("plain", f"the kernels support up to {MOST_PARAMETERS} parameters", lambda s: _for_kernels(s) is not None),
        Rule(
            "plain",
            "MLX uses the matrix units of this chip, and the kernels cannot",
            lambda s: (s.device.generation or 0) >= _MATRIX_UNITS_GENERATION,
        ),
        Rule("metal", "half the multiply-adds in symmetric products; expected to be faster, not measured on a Mac"),
    ),
    proof=case.MUON,
    dimensions=_dimensions,
    check=lambda gradients, momenta, mu, *, layout, **settings: check_packing(gradients, momenta, mu, layout=layout),
    parts=(MUON_PACK, SYMMETRIC_PRODUCT, NEWTON_SCHULZ),
)
"""New momenta and directions.

Args:
    gradients, momenta: float32, of the layout's shapes.
    mu: float32 scalar, the momentum factor.
    layout: from `make_layout`.
    steps, coefficients: of the orthogonalisation.

Returns:
    The new momenta, and the orthogonalised look-ahead in the banks of the layout.
"""
