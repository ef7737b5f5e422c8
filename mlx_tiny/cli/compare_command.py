"""`mlx-tiny compare`: settings in which runs differ, their results, and whether the difference is more than noise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_tiny.cli.options import UserPath, flag_name, has_flag
from mlx_tiny.cli.output import say, show
from mlx_tiny.config.differences import in_words

if TYPE_CHECKING:
    from mlx_tiny.config.differences import Difference
    from mlx_tiny.report.comparing import ComparedRuns


@click.command()
@click.argument("runs", nargs=-1, type=UserPath(), required=True, metavar="RUN RUN...")
@click.option("--beside/--no-beside", default=True, help="Whether to take more seeds that lie beside. [default: on]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(runs: tuple[Path, ...], beside: bool, as_json: bool) -> None:
    """Compare the runs in these folders with the first of them.

    Shows the settings in which they differ, their results side by side, and whether the difference is more than noise.
    Runs that differ in nothing but the seed are one side; runs of more seeds that lie in the same folder as these are
    taken too. Pairs of equal seeds tell the noise of the seed by a paired t-test. From one run of each it cannot be
    known; the noise of the text can. Runs that were measured on different texts are refused.

    \b
      mlx-tiny compare runs/low runs/high
    """
    from mlx_tiny.records import to_json
    from mlx_tiny.report.comparing import compare

    if len(runs) < 2:
        raise click.UsageError("Name at least two runs")
    found = compare(runs, beside=beside)
    if as_json:
        show(to_json(found))
    else:
        show("\n".join(_lines(found)))
    for line in found.doubts:
        say(f"warning: {line}")


def _lines(found: ComparedRuns) -> Iterator[str]:
    from mlx_tiny.study.comparison import table
    from mlx_tiny.tools.tables import wrapped

    for side in found.sides:
        beside = [run for run in side.runs if run in found.beside]
        note = f"; found beside: {', '.join(beside)}" if beside else ""
        if len(side.runs) > 1:
            yield from wrapped(f"{side.name}: seeds {', '.join(map(str, side.seeds))}{note}")
    yield from _settings(found)
    yield ""
    yield from table(found.comparisons, title="run")
    for sentence in filter(None, (*(noise.verdict for noise in found.noise_of_text), found.noise_of_seeds)):
        yield from wrapped(sentence)


def _settings(found: ComparedRuns) -> Iterator[str]:
    """What differs, with the value of each side."""
    from mlx_tiny.tools.tables import wrapped

    if not found.differences:
        yield "settings: all are equal, the seeds too"
        return
    names = [side.name for side in found.sides]
    for difference in found.differences:
        values = [f"{in_words(value)} ({name})" for name, value in zip(names, difference.values, strict=True)]
        yield from wrapped(f"{_name(difference)}: {', '.join(values)}")


def _name(difference: Difference) -> str:
    """The flag where it is a setting of the user."""
    section, name = difference.section, difference.name
    return flag_name(section, name)[2:] if section != "run" and has_flag(section, name) else name.replace("_", " ")
