"""The drawings of the page of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from mlx_tiny.report.curves import Curve, Curves
from mlx_tiny.report.record import Report
from mlx_tiny.tools.plots import INK, drawing, series
from mlx_tiny.units import format_count, format_flops

SIZE = (4.8, 3.0)
_RAW_POINTS = 400
_CUT = 0.06
"""Of a run, at its beginning, where the loss may be higher than the drawing."""
_HOLLOW = {"markerfacecolor": "none", "markeredgewidth": 1.4, "linestyle": "none", "markersize": 7}
LABELS = {"seconds": "seconds of training", "tokens": "tokens read", "flops": "model FLOPs"}
_FORMS = {"seconds": lambda value: f"{value:g}", "tokens": format_count, "flops": format_flops}

Run = tuple[Report, Curves]
Interval = tuple[float | None, Sequence[float] | None]
"""A strength and its interval, as far as they are known."""


def strength(axis: str, runs: Sequence[Run]) -> Element:
    """Bits per byte of each run over what it had spent."""

    def draw(axes: Any) -> None:
        for number, (report, curves) in enumerate(runs):
            _draw_run(axes, number, report, curves, axis, raw=len(runs) == 1)
        _draw_references(axes, [report for report, _ in runs])
        axes.set_ylim(*_limits(runs))
        _name_axes(axes, LABELS[axis], "bits per byte", axis)

    return drawing(f"strength-{axis}", draw, size=SIZE)


def _draw_run(axes: Any, number: int, report: Report, curves: Curves, axis: str, *, raw: bool) -> None:
    look = series(number)
    if raw:
        _plot(axes, curves.training.smoothed(_RAW_POINTS), axis, color=look["color"], alpha=0.25, linewidth=0.7)
    _plot(axes, curves.training.smoothed(), axis, color=look["color"], alpha=0.55, linewidth=1.0)
    _plot(axes, curves.validation, axis, **look, linewidth=1.8, markersize=5.5)
    if report.with_counting_bits_per_byte is not None:
        axes.plot([curves.result[axis]], [report.with_counting_bits_per_byte], **{**look, **_HOLLOW})


def _draw_references(axes: Any, reports: Sequence[Report]) -> None:
    """The entropy of the text, dashed, and the strength of counting alone, dotted, as far as they are known."""
    for name, dashes in (("counting_bits_per_byte", (0, (1, 2))), ("entropy_floor_bits_per_byte", (0, (5, 3)))):
        for value in sorted({round(value, 3) for report in reports if (value := getattr(report, name)) is not None}):
            axes.axhline(value, color=INK, linewidth=0.9, linestyle=dashes, alpha=0.7)


def _limits(runs: Sequence[Run]) -> tuple[float, float]:
    """The lowest and highest strength to draw: without the first losses, which say little."""
    drawn = [
        value
        for report, _ in runs
        for value in (report.bits_per_byte, report.with_counting_bits_per_byte, report.entropy_floor_bits_per_byte)
        if value is not None
    ]
    counted = [report.counting_bits_per_byte or 0.0 for report, _ in runs]
    for _, curves in runs:
        smooth = curves.training.smoothed().values
        drawn += [*curves.validation.values, *smooth[round(_CUT * len(smooth)) :]]
    bottom, top = min(drawn), max(*drawn, *counted)
    return max(0.0, bottom - 0.12 * (top - bottom)), top + 0.05 * (top - bottom)


def speed(runs: Sequence[Run]) -> Element:
    """Tokens per second over the time of each run."""
    return _over_time("speed", "tokens per second", [curves.tokens_per_s for _, curves in runs], format_count)


def utilisation(runs: Sequence[Run]) -> Element | None:
    """The share of the measured peak that each run has used, over its time; None where no run knows it."""
    shares = [curves.utilisation for _, curves in runs]
    if not any(len(share.values) for share in shares):
        return None
    return _over_time("utilisation", "model FLOPs utilisation", shares, "{:.0%}".format)


def _over_time(name: str, title: str, curves: Sequence[Curve], form: Any) -> Element:
    def draw(axes: Any) -> None:
        for number, curve in enumerate(curves):
            smooth = curve.smoothed()
            _plot(axes, smooth, "seconds", **series(number), linewidth=1.5, markersize=4.5, markevery=(3, 10))
        axes.set_ylim(bottom=0)
        _name_axes(axes, LABELS["seconds"], title, "seconds")
        axes.yaxis.set_major_formatter(lambda value, _: form(value))

    return drawing(name, draw, size=SIZE)


def intervals(name: str, rows: Sequence[Interval], *, hollow: bool) -> Element:
    """The strength of each run as a point on a line, which is its interval.

    Args:
        rows: of the runs, from the top to the bottom.
        hollow: how points of the mixture with counting look.
    """

    def draw(axes: Any) -> None:
        for number, (value, interval) in enumerate(rows):
            look = {**series(number), "linestyle": "none", "markersize": 8, **(_HOLLOW if hollow else {})}
            if interval is not None:
                axes.plot(interval, [number] * 2, color=look["color"], linewidth=3, alpha=0.5, solid_capstyle="butt")
            if value is not None:
                axes.plot([value], [number], **look)
        axes.set_yticks([])
        axes.set(ylim=(len(rows) - 0.5, -0.5), xlabel="bits per byte, lower is better")
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=6)

    return drawing(f"interval-{name}", draw, size=(SIZE[0], 0.75 + 0.3 * len(rows)))


def _plot(axes: Any, curve: Curve, axis: str, **look: Any) -> None:
    known = np.isfinite(curve.values)
    axes.plot(curve.spent[axis][known], curve.values[known], **look)


def _name_axes(axes: Any, across: str, up: str, axis: str) -> None:
    axes.set(xlabel=across, ylabel=up)
    axes.set_xlim(left=0)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: _FORMS[axis](value) if value else "0")
