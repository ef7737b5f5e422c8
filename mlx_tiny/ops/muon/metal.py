"""Muon's part of a step with Metal kernels: packing in one launch, and symmetric products that compute one triangle.

A and A A = A A^T of a Newton-Schulz step are symmetric. The kernel computes one triangle of their tiles and mirrors it,
which halves the multiply-adds of these two products. See `kernels/README.md`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mlx_tiny.ops.metal import MetalKernel
from mlx_tiny.ops.muon.layout import Layout
from mlx_tiny.ops.muon.plain import Packed

MOST_PARAMETERS = 4
"""The packing kernel has names for so many parameters."""
MOST_ENTRIES = 2**31 - 1
"""The packing kernel has offsets in int32."""
MOST_PRODUCT_ENTRIES = 2**32
"""The kernel of symmetric products has offsets in uint."""
BLOCKS = (2, 4)
"""A tile has 16 rows per block. Large tiles read less, small ones give more threadgroups; which is faster has not been
measured."""
_LARGE_ROWS = 256
_TILE, _THREADS = 32, 128
# MLX passes smaller inputs in another address space.
_SMALLEST_INPUT = 8

_PACK = MetalKernel(
    "muon_pack",
    (
        *(f"{kind}{index}" for kind in ("gradient", "momentum") for index in range(MOST_PARAMETERS)),
        "mu",
        "layout",
    ),
    (*(f"average{index}" for index in range(MOST_PARAMETERS)), "packed", "partials"),
)
_SYMMETRIC_PRODUCT = MetalKernel("symmetric_product", ("x", "addend", "factors"), ("product",))


def pack_on_metal(
    gradients: Sequence[mx.array],
    momenta: Sequence[mx.array],
    mu: mx.array,
    *,
    layout: Layout,
    dtype: mx.Dtype = mx.float32,
) -> Packed:
    """The operation `muon_pack` in one launch, for up to `MOST_PARAMETERS` parameters."""
    count = len(gradients)
    tiles = _tiles(layout)
    sizes = [N * short * long for N, short, long in layout.banks]
    # For absent parameters, the inputs of the first one are passed, and outputs of one entry.
    missing = MOST_PARAMETERS - count
    inputs = [_large_enough(array) for group in (gradients, momenta) for array in [*group, *[group[0]] * missing]]
    *averages, packed, partials = _PACK(
        [*inputs, mu.astype(mx.float32).reshape(1), _table(layout)],
        template={"T": dtype, "PARAMETERS": count},
        threadgroups=(sum(tiles), 1, 1),
        threads=_THREADS,
        outputs=[
            *((shape, mx.float32) for shape in layout.shapes),
            *[((1,), mx.float32)] * missing,
            ((sum(sizes),), dtype),
            ((sum(tiles), 2), mx.float32),
        ],
    )
    banks = [part.reshape(shape) for part, shape in zip(_parts(packed, sizes), layout.banks, strict=True)]
    partials_NP2 = [
        part.reshape(shape[0], -1, 2) for part, shape in zip(_parts(partials, tiles), layout.banks, strict=True)
    ]
    return Packed(averages[:count], banks, partials_NP2, averages[count:])


def _parts(array: mx.array, counts: Sequence[int]) -> list[mx.array]:
    """Parts of these sizes along the first axis."""
    return list(mx.split(array, np.cumsum(counts)[:-1].tolist()))


def _large_enough(array: mx.array) -> mx.array:
    return array if array.size >= _SMALLEST_INPUT else mx.pad(array.reshape(-1), (0, _SMALLEST_INPUT - array.size))


def _tiles(layout: Layout) -> list[int]:
    """Number of tiles per bank."""
    return [N * -(-short // _TILE) * -(-long // _TILE) for N, short, long in layout.banks]


@functools.cache
def _table(layout: Layout) -> mx.array:
    """The layout for the kernel, int32 [tiles, 8], bank by bank and matrix by matrix; the kernel explains it."""
    rows = []
    bank_starts = np.cumsum([0, *(N * short * long for N, short, long in layout.banks)])
    for run in layout.runs:
        layers, height, columns = layout.shapes[run.parameter]
        long = layout.banks[run.bank][2]
        for index in range(layers * run.count):
            layer, block = divmod(index, run.count)
            source = (layer * height + run.first_row + block * run.rows) * columns
            target = int(bank_starts[run.bank]) + (run.start + index) * run.rows * columns
            for row in range(0, run.rows, _TILE):
                for column in range(0, columns, _TILE):
                    rows.append(
                        (
                            run.parameter,
                            source + row * columns + column,
                            columns,
                            min(_TILE, run.rows - row),
                            min(_TILE, columns - column),
                            target + (column * long + row if run.tall else row * long + column),
                            long,
                            run.tall,
                        )
                    )
    return mx.array(np.array(rows, dtype=np.int32))


def polynomial_on_metal(x_NRC: mx.array, b: float, c: float) -> mx.array:
    """b A + c A A with A = X X^T, by the kernel of symmetric products."""
    gram = symmetric_product_on_metal(x_NRC)
    return symmetric_product_on_metal(gram, gram, alpha=c, beta=b)


def symmetric_product_on_metal(
    bank_NRC: mx.array,
    addend_NRR: mx.array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    blocks: int | None = None,
) -> mx.array:
    """alpha X X^T + beta addend for every matrix of a bank, by the Metal kernel; symmetric to the bit.

    Args:
        bank_NRC: float32 or bfloat16 [N, rows, columns], all at least 1; multiplied and added up in float32.
        addend_NRR: symmetric matrices in the dtype of the bank; only one triangle is read.
        alpha, beta: factors.
        blocks: 2 or 4, for tiles of 16 rows per block; by default chosen by the number of rows.

    Returns:
        [N, rows, rows] in the dtype of the bank.
    """
    N, R, _ = bank_NRC.shape
    if blocks is None:
        blocks = BLOCKS[R >= _LARGE_ROWS]
    tiles = -(-R // (16 * blocks))
    return _SYMMETRIC_PRODUCT(
        [bank_NRC, bank_NRC if addend_NRR is None else addend_NRR, mx.array([alpha, beta], dtype=mx.float32)],
        template={"T": bank_NRC.dtype, "BLOCKS": blocks, "ADDS": addend_NRR is not None},
        threadgroups=(tiles * (tiles + 1) // 2, N, 1),
        threads=_THREADS,
        outputs=[((N, R, R), bank_NRC.dtype)],
    )[0]
