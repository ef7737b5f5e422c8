"""A roofline: what was reached over the arithmetic intensity, below what the machine's peaks allow from memory.

What lies in a cache may stand above it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.tools.plots import picture

_POINTS = 64


def plot(records: Sequence[dict[str, Any]], peaks: Peaks, path: Path) -> None:
    """Draw the timed records of `bench kernels` as a PNG, with a colour per implementation and a mark per operation."""
    from matplotlib import lines

    shown = [record for record in records if record["benchmark"] == "kernels" and "median_s" in record]
    intensities = [record["arithmetic_intensity"] for record in shown] or [1.0]
    low, high = min(intensities) / 4, max(intensities) * 4
    xs = [low * (high / low) ** (step / _POINTS) for step in range(_POINTS + 1)]
    colours = _keys(shown, ("implementation",), (f"C{number}" for number in range(10)))
    marks = _keys(shown, ("operation", "direction"), "osD^vP*X<>")
    with picture(path, figsize=(9, 6)) as (figure, axes):
        roofs = [
            axes.plot(
                xs,
                [min(rate, x * peaks.copy_bytes_per_s) for x in xs],
                color="black",
                linestyle=line,
                label=f"peaks, {dtype}, from memory",
            )[0]
            for (dtype, rate), line in zip(peaks.matmul_flops_per_s.items(), itertools.cycle(("-", "--", ":")))
        ]
        for record in shown:
            colour, mark = colours[record["implementation"],], marks[record["operation"], record["direction"]]
            place = record["arithmetic_intensity"], record["model_flops_per_s"]
            axes.plot(*place, mark, color=colour, linestyle="none", alpha=0.8)
        handles = [
            *roofs,
            *(
                lines.Line2D([], [], marker="s", linestyle="none", color=c, label=name)
                for (name,), c in colours.items()
            ),
            *(
                lines.Line2D([], [], marker=mark, linestyle="none", color="gray", label=", ".join(kind))
                for kind, mark in marks.items()
            ),
        ]
        axes.set(xscale="log", yscale="log", xlabel="model FLOPs per byte that must be moved", ylabel="model FLOP/s")
        axes.set_title(", ".join(sorted({record["machine"]["chip"] for record in shown})))
        figure.legend(handles=handles, loc="outside right upper", fontsize="small")


def _keys(
    records: Sequence[dict[str, Any]], fields: tuple[str, ...], signs: Iterable[str]
) -> dict[tuple[str, ...], str]:
    """A sign for each combination of fields, in the order of their appearance, over again where signs run out."""
    found = dict.fromkeys(tuple(record[field] for field in fields) for record in records)
    return dict(zip(found, itertools.cycle(signs)))
