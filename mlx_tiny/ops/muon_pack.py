"""Gradients and momenta to banks of look-ahead matrices, for Muon: plain MLX, and all of it in one launch.

Of every parameter [L, R, C] the gradient g changes the momentum, m <- mu m + (1 - mu) g, and the Nesterov look-ahead
mu m + (1 - mu) g is what Muon orthogonalises. All matrices of one shape, tall ones transposed, lie side by side in one
bank [N, short side, long side], whichever parameter they belong to.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_tiny.errors import TinyError
from mlx_tiny.ops import dispatch
from mlx_tiny.ops.metal import MetalKernel
from mlx_tiny.ops.self_test import difference

IMPLEMENTATIONS = ("plain", "metal")

# What the kernel's text has names for.
_MOST_PARAMETERS = 4
_TILE, _THREADS = 32, 128
# Offsets in the kernel's layout are int32.
_MOST_ENTRIES = 2**31 - 1
# MLX hands smaller inputs over in another address space.
_SMALLEST_INPUT = 8
# Above zero, so that the ratios of zeros are zero; far below any gradient.
_SMALLEST = 1e-20

_PACK = MetalKernel(
    "muon_pack",
    (
        *(f"{kind}{index}" for kind in ("gradient", "momentum") for index in range(_MOST_PARAMETERS)),
        "mu",
        "layout",
    ),
    (*(f"average{index}" for index in range(_MOST_PARAMETERS)), "packed", "partials"),
)


@dataclass(frozen=True)
class Run:
    """Neighbouring blocks of equal shape in one parameter: `count` matrices of each layer, side by side in a bank."""

    parameter: int
    first_row: int
    rows: int
    columns: int
    count: int
    bank: int
    start: int
    """Of the layers' `count` matrices each, the first in the bank; those of one layer are neighbours."""

    @property
    def tall(self) -> bool:
        return self.rows > self.columns


@dataclass(frozen=True)
class Layout:
    """Which matrix lies where in which bank."""

    shapes: tuple[tuple[int, int, int], ...]
    """[L, R, C] of the parameters."""
    banks: tuple[tuple[int, int, int], ...]
    """[N, short side, long side]."""
    runs: tuple[Run, ...]
    """Bank by bank, in the order of their matrices."""


@dataclass(frozen=True)
class Packed:
    """What `pack` gives."""

    momenta: list[mx.array]
    banks: list[mx.array]
    """[N, short side, long side] each."""
    partials: list[mx.array]
    """[N, P, 2] for each bank, float32: what the Frobenius norms are made of, as `orthogonalize` takes it."""


def make_layout(shapes: Sequence[tuple[int, ...]], blocks: Sequence[tuple[int, ...]]) -> Layout:
    """Lay out the matrices of parameters.

    Args:
        shapes: [L, R, C] of each parameter.
        blocks: of each, the row counts of the matrices stacked in it, which add up to R.

    Raises:
        TinyError: a shape that is no [L, R, C], or matrices that are not all of its rows.
    """
    for shape, heights in zip(shapes, blocks, strict=True):
        _check_parameter(shape, heights)
    members: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
    for parameter, ((_, _, columns), heights) in enumerate(zip(shapes, blocks, strict=True)):
        first = 0
        while first < len(heights):
            rows, count = heights[first], 1
            while heights[first + count : first + count + 1] == (rows,):
                count += 1
            side = (min(rows, columns), max(rows, columns))
            members.setdefault(side, []).append((parameter, sum(heights[:first]), rows, count))
            first += count
    banks, runs = [], []
    for bank, (side, parts) in enumerate(members.items()):
        start = 0
        for parameter, first_row, rows, count in parts:
            runs.append(Run(parameter, first_row, rows, shapes[parameter][2], count, bank, start))
            start += shapes[parameter][0] * count
        banks.append((start, *side))
    return Layout(tuple((layers, rows, columns) for layers, rows, columns in shapes), tuple(banks), tuple(runs))


def run_view(run: Run, layers: int, bank_NRC: mx.array) -> mx.array:
    """The matrices of a run as they stand in their parameter: [L, count, rows, columns], a view."""
    _, short, long = bank_NRC.shape
    part = bank_NRC[run.start : run.start + layers * run.count].reshape(layers, run.count, short, long)
    return part.swapaxes(2, 3) if run.tall else part


def unfit(layout: Layout) -> str | None:
    """Why the kernels do not take the parameters of a layout, or None where they do."""
    if len(layout.shapes) > _MOST_PARAMETERS:
        return f"the kernel packs up to {_MOST_PARAMETERS} parameters, and here are {len(layout.shapes)}"
    if sum(math.prod(bank) for bank in layout.banks) > _MOST_ENTRIES:
        return f"the kernels count up to {_MOST_ENTRIES} entries"
    return None


def pack(
    gradients: Sequence[mx.array],
    momenta: Sequence[mx.array],
    mu: mx.array,
    layout: Layout,
    *,
    dtype: mx.Dtype = mx.float32,
    implementation: str = "plain",
) -> Packed:
    """New momenta, and the look-ahead in banks.

    Args:
        gradients, momenta: float32, of the layout's shapes.
        mu: float32 scalar, the momentum factor.
        layout: as `make_layout` gives it.
        dtype: of the banks, float32 or bfloat16.
        implementation: `plain`, or `metal`: one launch for up to four parameters.

    Raises:
        TinyError: other shapes or types, an unknown implementation, or `metal` where no kernel can run.
    """
    _check(gradients, momenta, layout, dtype, implementation)
    return (_by_kernel if implementation == "metal" else _plain)(gradients, momenta, mu, layout, dtype)


def _plain(
    gradients: Sequence[mx.array], momenta: Sequence[mx.array], mu: mx.array, layout: Layout, dtype: mx.Dtype
) -> Packed:
    averages = [mu * momentum + (1 - mu) * gradient for gradient, momentum in zip(gradients, momenta, strict=True)]
    ahead = [(mu * average + (1 - mu) * gradient) for gradient, average in zip(gradients, averages, strict=True)]
    banks: list[mx.array] = []
    for bank, (_, short, long) in enumerate(layout.banks):
        parts = []
        for run in (run for run in layout.runs if run.bank == bank):
            rows = ahead[run.parameter][:, run.first_row : run.first_row + run.count * run.rows]
            matrices = rows.reshape(-1, run.rows, run.columns)
            parts.append((matrices.swapaxes(1, 2) if run.tall else matrices).reshape(-1, short, long))
        banks.append(mx.concatenate(parts).astype(dtype))
    partials = []
    for bank_NRC in banks:
        magnitude = mx.abs(bank_NRC.astype(mx.float32))
        largest = mx.maximum(mx.max(magnitude, axis=(1, 2), keepdims=True), _SMALLEST)
        squares = mx.sum(mx.square(magnitude / largest), axis=(1, 2), keepdims=True)
        partials.append(mx.concatenate([largest, squares], axis=2))
    return Packed(averages, banks, partials)


def _by_kernel(
    gradients: Sequence[mx.array], momenta: Sequence[mx.array], mu: mx.array, layout: Layout, dtype: mx.Dtype
) -> Packed:
    count = len(gradients)
    tiles = _tiles(layout)
    sizes = [N * short * long for N, short, long in layout.banks]
    # Absent parameters are stood in for by the first one's inputs, and by outputs of one entry.
    missing = _MOST_PARAMETERS - count
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
    return Packed(averages[:count], banks, partials_NP2)


def _parts(array: mx.array, counts: Sequence[int]) -> list[mx.array]:
    """Pieces of these sizes along the first axis."""
    return list(mx.split(array, np.cumsum(counts)[:-1].tolist()))


def _large_enough(array: mx.array) -> mx.array:
    return array if array.size >= _SMALLEST_INPUT else mx.pad(array.reshape(-1), (0, _SMALLEST_INPUT - array.size))


def _tiles(layout: Layout) -> list[int]:
    """Tiles of each bank."""
    return [N * -(-short // _TILE) * -(-long // _TILE) for N, short, long in layout.banks]


@functools.cache
def _table(layout: Layout) -> mx.array:
    """The kernel's layout, int32 [tiles, 8], bank by bank and matrix by matrix; see the kernel's text."""
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


def self_test(dtype: mx.Dtype) -> str | None:
    """Evaluate the kernel against the plain path on ragged tall and wide matrices; how it fails, or None."""
    shapes = [(2, 77, 40), (2, 40, 45), (1, 9, 33), (3, 5, 2)]
    blocks = [(45, 16, 16), (40,), (9,), (5,)]
    keys = mx.random.split(mx.random.key(0), 2 * len(shapes))
    arrays = [mx.random.normal(shape, key=key) for shape, key in zip(2 * shapes, keys, strict=True)]
    # Every number of parameters: each is a kernel of its own to Metal's compiler.
    for count in range(1, _MOST_PARAMETERS + 1):
        layout = make_layout(shapes[:count], blocks[:count])
        inputs = arrays[:count], arrays[len(shapes) :][:count], mx.array(0.9), layout
        got, right = pack(*inputs, dtype=dtype, implementation="metal"), pack(*inputs)
        results, expected = ([*packed.momenta, *packed.banks, *map(_norms, packed.partials)] for packed in (got, right))
        what = f"packing with PARAMETERS={count}: result"
        if (failure := difference(what, results, expected, "Muon pack", dtype)) is not None:
            return failure
    return None


def _norms(partials_NP2: mx.array) -> mx.array:
    return mx.sqrt(mx.sum(mx.square(partials_NP2[..., 0]) * partials_NP2[..., 1], axis=1))


def _check_parameter(shape: tuple[int, ...], heights: tuple[int, ...]) -> None:
    if len(shape) != 3 or min(shape) < 1:
        raise TinyError(
            "Muon's parameters are matrices, stacked by layer",
            expected="[layers, rows, columns], none of them 0",
            got=shape,
        )
    if sum(heights) != shape[1] or min(heights, default=0) < 1:
        raise TinyError(
            f"The matrices in a parameter {shape} of Muon are not all of its rows",
            expected=f"row counts that add up to {shape[1]}",
            got=heights,
            remedy="Mend the parameter's `blocks` in parameter_specs",
        )


def _check(
    gradients: Sequence[mx.array], momenta: Sequence[mx.array], layout: Layout, dtype: mx.Dtype, implementation: str
) -> None:
    if implementation not in IMPLEMENTATIONS:
        raise TinyError(
            f"Unknown implementation {implementation!r} of Muon's packing",
            expected=f"one of {', '.join(IMPLEMENTATIONS)}",
        )
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
    if implementation == "metal":
        dispatch.require_metal("Muon")
        if (reason := unfit(layout)) is not None:
            raise TinyError(f"The kernels of Muon do not take these parameters: {reason}", remedy="Take `auto`")
