"""Arranges Muon's matrices in banks.

All matrices of equal shape, of all parameters, form a bank [N, short side, long side], with tall matrices transposed.
So the orthogonalisation works on few large arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlx_tiny.errors import TinyError


@dataclass(frozen=True)
class Run:
    """Neighbouring matrices of equal shape in a parameter, `count` per layer, which are neighbours in a bank too."""

    parameter: int
    first_row: int
    rows: int
    columns: int
    count: int
    bank: int
    start: int
    """Index of the first of these matrices in the bank, in which they follow layer by layer."""

    @property
    def tall(self) -> bool:
        return self.rows > self.columns


@dataclass(frozen=True)
class Layout:
    """The place of every matrix in the banks."""

    shapes: tuple[tuple[int, int, int], ...]
    """Shapes [L, R, C] of the parameters."""
    banks: tuple[tuple[int, int, int], ...]
    """Shapes [N, short side, long side] of the banks."""
    runs: tuple[Run, ...]
    """Bank by bank, in the order of the matrices."""


def make_layout(shapes: Sequence[tuple[int, ...]], blocks: Sequence[tuple[int, ...]]) -> Layout:
    """Arrange the matrices of parameters in banks.

    Args:
        shapes: [L, R, C] of each parameter.
        blocks: of each parameter, the rows of the matrices in a layer, which add up to R.

    Raises:
        TinyError: a shape is not [L, R, C], or the rows do not add up to R.
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
    """The matrices of a run in the order of their parameter, [L, count, rows, columns], as a view."""
    _, short, long = bank_NRC.shape
    part = bank_NRC[run.start : run.start + layers * run.count].reshape(layers, run.count, short, long)
    return part.swapaxes(2, 3) if run.tall else part


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
            remedy="Correct the parameter's `blocks` in model/parameters.py",
        )
