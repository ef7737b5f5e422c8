"""The interleaved study: `mlx-tiny train` and the GPT-2 baseline on the same seeds, one after the other.

The order alternates from seed to seed (A B, B A, A B ...), so that a machine that slows down affects both sides alike.
Every run is a process of its own. The results are written after each run; the same command continues a study that was
stopped.

    python -m benchmarks.compare_with_gpt2 --data 'text/*.txt' --validation valid.txt --budget 5m --seeds 0,1,2
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.command_line import start
from benchmarks.pairs import SIDES, Run, StudyFile, summarize, table, verdict
from benchmarks.runs import Study, perform
from mlx_tiny.config import DataConfig, TrainConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.files import make_folder
from mlx_tiny.records import read, write
from mlx_tiny.tools.processes import ROOT
from mlx_tiny.units import format_count, parse_quantity

WARM_UP_BUDGET = "2s"
OUTPUT = ROOT / "benchmarks" / "results" / "gpt2.json"


class Results:
    """The runs of a study, in a file that is complete at every moment.

    Raises:
        TinyError: the file is damaged, or belongs to a study with other settings.
    """

    def __init__(self, path: Path, study: Study) -> None:
        self.path, self.settings = path, study.asked()
        self.runs: list[Run] = []
        if path.exists():
            found = read(path, StudyFile, "results of the study")
            if found.settings != self.settings:
                raise TinyError(
                    f"{path.name} contains the results of another study",
                    expected=self.settings,
                    got=found.settings,
                    remedy="Name another file with --output, or remove this one",
                )
            self.runs = found.runs

    def has(self, seed: int, side: str) -> bool:
        """Whether that run is finished."""
        return any(run.seed == seed and run.side == side for run in self.runs)

    def add(self, run: Run) -> None:
        """Add a finished run to the file."""
        self.runs.append(run)
        self._write()

    def forget_disturbed(self) -> int:
        """Drop both runs of every seed with a disturbed run; returns the number of dropped runs."""
        seeds = {run.seed for run in self.runs if run.disturbed}
        dropped = [run for run in self.runs if run.seed in seeds]
        if dropped:
            self.runs = [run for run in self.runs if run.seed not in seeds]
            self._write()
        return len(dropped)

    def _write(self) -> None:
        make_folder(self.path.parent)
        write(self.path, StudyFile(self.settings, summarize(self.runs), self.runs))


def schedule(seeds: list[int]) -> Iterator[tuple[int, str]]:
    """Seed and side of every run, in order: A B, B A, A B ..."""
    for index, seed in enumerate(seeds):
        for side in SIDES if index % 2 == 0 else SIDES[::-1]:
            yield seed, side


def parse_seeds(text: str) -> list[int]:
    """Different numbers, separated by commas."""
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isdecimal() for number in numbers) or len(set(map(int, numbers))) < len(numbers):
        raise TinyError(f"Cannot read the seeds {text!r}", expected="different numbers with commas, such as 0,1,2")
    return [int(number) for number in numbers]


def run_study(study: Study, seeds: list[int], results: Results, *, warm_up: bool) -> None:
    """Do the runs that are missing."""
    missing = [(seed, side) for seed, side in schedule(seeds) if not results.has(seed, side)]
    if missing and warm_up:
        short = dataclasses.replace(study, budget=WARM_UP_BUDGET)
        for side in sorted({side for _, side in missing}):
            click.echo(f"warm-up of {side}: {WARM_UP_BUDGET}, not counted")
            perform(short, side, seeds[0])
    for number, (seed, side) in enumerate(missing, 1):
        run = perform(study, side, seed)
        results.add(run)
        click.echo(f"run {number} of {len(missing)}: seed {seed}, {side}: {_line(run)}")


def _line(run: Run) -> str:
    line = f"{run.bits_per_byte:.4f} bits per byte, {format_count(run.tokens)} tokens in {run.seconds:.1f} s"
    if run.disturbed:
        line += f"; DISTURBED: other processes used {run.cores_used_by_others:.2f} cores"
    return line


@click.command()
@click.option("--data", default=DataConfig.sources[0], show_default=True, help="File, folder, glob, or a named corpus.")
@click.option("--validation", help="Validation file; without it a share of the documents is held out.")
@click.option("--budget", default=TrainConfig.budget, show_default=True, help="Budget of each run: time or tokens.")
@click.option("--seeds", default="0,1,2,3,4", show_default=True, help="Seeds; each gives a pair of runs.")
@click.option("--ours", default="", help="Further options of mlx-tiny train, in one string.")
@click.option("--baseline", default="", help="Further options of the baseline, in one string.")
@click.option("--torch-python", default=sys.executable, help="Python interpreter with PyTorch. [default: this one]")
@click.option(
    "--output", type=click.Path(path_type=Path), default=OUTPUT, help="File of the results; a study in it is continued."
)
@click.option(
    "--warm-up/--no-warm-up",
    default=True,
    show_default=True,
    help="First run both sides for 2 s, which is not counted.",
)
@click.option("--repeat-disturbed", is_flag=True, help="Repeat the pairs during which other processes were busy.")
def command(seeds: str, output: Path, warm_up: bool, repeat_disturbed: bool, **settings: Any) -> None:
    """Compare mlx_tiny with the GPT-2-style baseline at the same budget, and print a table and the verdict."""
    parse_quantity(settings["budget"])
    study, numbers = Study(**settings), parse_seeds(seeds)
    results = Results(output, study)
    if repeat_disturbed:
        click.echo(f"{results.forget_disturbed()} runs are repeated: the disturbed ones and their partners")
    run_study(study, numbers, results, warm_up=warm_up)
    for line in ("", *table(results.runs), "", verdict(results.runs)):
        click.echo(line)


if __name__ == "__main__":
    start(command)
