"""Draws a roofline: FLOP/s against arithmetic intensity, with the limit that the peaks of the machine allow.

The limit is that of memory, so operations whose data fits into a cache may be above it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from mlx_tiny.bench.record import Benchmarks, Result
from mlx_tiny.tools.plots import picture

_POINTS = 64

K = TypeVar("K")


def plot(file: Benchmarks, path: Path) -> None:
    """Draw the timed results of `bench kernels` as a PNG, with a colour per implementation and a mark per operation."""
    shown = [result for result in file.results if result.benchmark == "kernels" and result.time_s]
    intensities = [_intensity(result) for result in shown] or [1.0]
    low, high = min(intensities) / 4, max(intensities) * 4
    xs = [low * (high / low) ** (step / _POINTS) for step in range(_POINTS + 1)]
    colours = _signs([r.implementation for r in shown], [f"C{number}" for number in range(10)])
    marks = _signs([(r.operation, r.direction) for r in shown], "osD^vP*X<>")
    with picture(path, figsize=(9, 6)) as (figure, axes):
        lines = itertools.cycle(("-", "--", ":"))
        for (dtype, rate), line in zip(file.peaks.matmul_flops_per_s.items(), lines, strict=False):
            roof = [min(rate, x * file.peaks.copy_bytes_per_s) for x in xs]
            axes.plot(xs, roof, color="black", linestyle=line, label=f"peaks, {dtype}, from memory")
        for result in shown:
            assert result.time_s is not None
            colour, mark = colours[result.implementation], marks[result.operation, result.direction]
            axes.plot(_intensity(result), result.flops / result.time_s.median, mark, color=colour, alpha=0.8)
        for name, colour in colours.items():
            axes.plot([], [], "s", color=colour, label=name)
        for (operation, direction), mark in marks.items():
            axes.plot([], [], mark, color="gray", label=f"{operation}, {direction}")
        axes.set(xscale="log", yscale="log", xlabel="model FLOPs per byte that must be moved", ylabel="model FLOP/s")
        axes.set_title(file.machine.chip)
        figure.legend(loc="outside right upper", fontsize="small")


def _intensity(result: Result) -> float:
    return result.flops / (result.least_bytes or 1.0)


def _signs(keys: Iterable[K], signs: Iterable[str]) -> dict[K, str]:
    """A sign for each key, in order of appearance; signs are used again if there are too few."""
    return dict(zip(dict.fromkeys(keys), itertools.cycle(signs), strict=False))
