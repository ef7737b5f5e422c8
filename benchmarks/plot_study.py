"""Draws the result of a paired study: bits per byte of every run, and the mean of each side.

python -m benchmarks.plot_study benchmarks/results/NAME.json
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.command_line import start
from benchmarks.pairs import BASELINE, OURS, StudyFile, complete_pairs
from mlx_tiny.errors import TinyError
from mlx_tiny.records import read
from mlx_tiny.tools.plots import picture, require_matplotlib
from mlx_tiny.tools.statistics import Mean

LABELS = {OURS: "mlx_tiny", BASELINE: "GPT-2-style\nin PyTorch"}


def draw(study: StudyFile, path: Path) -> None:
    """Draw the complete pairs of a study to a PNG file.

    Raises:
        TinyError: no pair is complete.
    """
    pairs = complete_pairs(study.runs)
    if not pairs:
        raise TinyError("The study has no complete pair to draw", remedy="Run benchmarks.compare_with_gpt2 first")
    with picture(path, figsize=(6, 1.7)) as (_, axes):
        for row, runs in enumerate(zip(*pairs, strict=True)):
            bits = [run.bits_per_byte for run in runs]
            found = Mean.of(bits)
            axes.plot(bits, [row] * len(bits), "o", markersize=5, alpha=0.6)
            spread = "" if found.std is None else f" ± {found.std:.3f}"
            axes.annotate(
                f"{found.mean:.3f}{spread}", (found.mean, row), (0, 8), textcoords="offset points", ha="center"
            )
        axes.set_yticks(range(len(LABELS)), LABELS.values())
        axes.set(ylim=(1.5, -0.8), xlabel=f"bits per byte after {study.settings.budget}, lower is better")
        axes.margins(x=0.15)
        axes.grid(axis="x", alpha=0.3)


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), help="PNG file. [default: RESULTS with the ending .png]")
def command(results: Path, output: Path | None) -> None:
    """Draw the file RESULTS of `benchmarks.compare_with_gpt2`; needs matplotlib."""
    require_matplotlib("the chart")
    path = output or results.with_suffix(".png")
    draw(read(results, StudyFile, "results of the study"), path)
    click.echo(f"drawn: {path}")


if __name__ == "__main__":
    start(command)
