"""The picture `loss.png` of a run: its strength over the tokens that it has read, beside what it is compared with."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

from mlx_tiny.config.differences import in_words, unlike_preset
from mlx_tiny.errors import printable
from mlx_tiny.report.curves import Curve, Curves
from mlx_tiny.report.record import Report
from mlx_tiny.report.texts import learned_texts
from mlx_tiny.tools import plots
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.units import format_count

NAME = "loss.png"
_MOST_SETTINGS, _MOST_CHARACTERS = 6, 100
"""In the title."""
_SMOOTH = 40
"""Points of the smoothed losses."""
_LOUD_SHARE = 0.97
"""Of the training losses; the highest others, at the beginning, may lie above the picture."""


def draw(run: RunFolder, report: Report) -> None:
    """Draw it where matplotlib is installed and the run has taken steps; else that of an earlier session is removed."""
    curves = Curves.of(run, report)
    if not plots.installed() or not len(curves.training.values):
        with contextlib.suppress(OSError):
            (run.path / NAME).unlink()
        return
    with plots.picture(run.path / NAME, figsize=(8, 5)) as (_, axes):
        _draw(axes, curves, report)


def _draw(axes: Any, curves: Curves, report: Report) -> None:
    raw, smooth, checks = curves.training, curves.training.smoothed(_SMOOTH), curves.validation
    axes.plot(*_points(raw), color="0.8", linewidth=0.7, label="training, each step")
    axes.plot(*_points(smooth), color="black", linewidth=1.6, label="training, smoothed")
    axes.plot(*_points(checks), "o--", color="tab:blue", markersize=5, label="validation")
    end = curves.result["tokens"], report.bits_per_byte
    axes.annotate(f"{end[1]:.3f}", end, textcoords="offset points", xytext=(-4, 8), ha="right", color="tab:blue")
    if report.with_counting_bits_per_byte is not None:
        mixed = report.with_counting_bits_per_byte
        axes.plot([end[0]], [mixed], "D", color="tab:red", label=f"model and counting, {mixed:.3f}")
    for value, name, style in (
        (report.counting_bits_per_byte, "counting alone", "-."),
        (report.entropy_floor_bits_per_byte, "entropy of the text", ":"),
    ):
        if value is not None:
            axes.axhline(value, color="0.35", linestyle=style, label=f"{name}, {value:.3f}")
    highest = max(float(np.quantile(raw.values, _LOUD_SHARE)), *checks.values.tolist())
    axes.set(xlabel="tokens", ylabel="bits per byte", xlim=(0, None), ylim=(0, 1.1 * highest))
    axes.xaxis.set_major_formatter(lambda tokens, _: format_count(tokens))
    axes.set_title(_title(report), fontsize=9)
    axes.grid(visible=True, color="0.9")
    axes.legend(fontsize=8)


def _points(curve: Curve) -> tuple[Any, Any]:
    return curve.spent["tokens"], curve.values


def _title(report: Report) -> str:
    """What was trained on what, and the settings that are not as the preset has them."""
    config = report.config
    told = [f"{each.name} {in_words(each.values[1])}" for each in unlike_preset(config) if each.section != "data"]
    rest = f", and {len(told) - _MOST_SETTINGS} more" if len(told) > _MOST_SETTINGS else ""
    lines = (
        f"{config.train.preset}, {format_count(report.parameters)} parameters, {report.budget}, "
        f"seed {config.train.seed}: {learned_texts(report)}",
        ", ".join(told[:_MOST_SETTINGS]) + rest,
    )
    return "\n".join(_plain(line) for line in lines if line)


def _plain(line: str) -> str:
    """A line in which matplotlib finds no formula."""
    line = printable(line).replace("$", r"\$")
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 3]}..."
