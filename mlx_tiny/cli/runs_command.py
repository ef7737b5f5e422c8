"""`mlx-tiny runs`: lists runs with their strength, cost and state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_tiny.cli.options import UserPath
from mlx_tiny.cli.output import say, show

if TYPE_CHECKING:
    from mlx_tiny.report.listing import ListedRun

_USUAL_FOLDER = Path("runs")
_LONGEST_NAME = 30
_BEGINNING = "*"


@click.command()
@click.argument("folders", nargs=-1, type=UserPath(), metavar="[FOLDER]...")
@click.option(
    "--sort",
    type=click.Choice(["strength", "date", "name"]),
    default="strength",
    show_default=True,
    help="What comes first: the strongest, the latest, or the first of the alphabet.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(folders: tuple[Path, ...], sort: str, as_json: bool) -> None:
    """List the runs in each FOLDER, by default in `runs`; a FOLDER may be a run itself.

    Runs that were measured on the same text stand together, because only their results are comparable. A run that is
    damaged is listed with the reason.

    \b
      mlx-tiny runs
      mlx-tiny runs runs old/runs --sort date
    """
    from mlx_tiny.records import to_json
    from mlx_tiny.report.listing import RunList, find_runs, list_runs

    named = folders or (_USUAL_FOLDER,)
    runs = list_runs(find_runs(named) if folders or _USUAL_FOLDER.exists() else [])
    runs.sort(key=lambda run: run.name)
    if sort == "date":
        runs.sort(key=lambda run: run.date or "", reverse=True)
    elif sort == "strength":
        runs.sort(key=lambda run: (run.bits_per_byte is None, run.bits_per_byte))
    if as_json:
        show(to_json(RunList(runs)))
        return
    if not runs:
        say(f"There are no runs in {', '.join(map(str, named))}; mlx-tiny train makes one.")
    for line in _tables(runs):
        show(line)


def _heading(run: ListedRun) -> str:
    """The text on which the runs of a table were measured."""
    from mlx_tiny.units import format_bytes

    if run.fingerprint is None:
        return "without a result"
    shortened = run.evaluated_bytes is not None and not run.evaluated_whole_file
    part = f"the first {format_bytes(run.evaluated_bytes or 0)}, " if shortened else ""
    return f"{run.data} ({part}fingerprint {run.fingerprint})"


def _strength(run: ListedRun) -> str:
    partly = run.evaluated_bytes is None and not run.evaluated_whole_file  # else the heading says so
    return f"{run.bits_per_byte:.4f}{_BEGINNING * partly}"


def _tables(runs: Sequence[ListedRun]) -> Iterator[str]:
    """A table for each text, one for the runs without a result, and the legend of all."""
    from mlx_tiny.data.documents import cut
    from mlx_tiny.report.listing import WHOLE
    from mlx_tiny.tools.tables import Column, Table, wrapped
    from mlx_tiny.units import format_count, format_seconds

    table: Table[ListedRun] = Table(
        lambda run: cut(run.name, _LONGEST_NAME),
        [
            Column("bits/byte", _strength, "of the model alone; lower is better"),
            Column(
                "mixed",
                lambda run: "" if (bits := run.with_counting_bits_per_byte) is None else f"{bits:.4f}",
                "bits per byte of model and counting together",
            ),
            Column("state", lambda run: "" if run.state == WHOLE else run.state),
            Column("budget", lambda run: run.budget or ""),
            Column("preset", lambda run: (run.preset or "").removeprefix("strongest-")),
            Column("size", lambda run: format_count(run.parameters or 0), "parameters"),
            Column("date", lambda run: (run.date or "").replace("T", " ")[:16]),
            Column("time", lambda run: format_seconds(run.seconds or 0.0), "on the clock of the budget"),
        ],
        marks=[(_BEGINNING, "on the beginning of the text only")],
        note=lambda run: None if run.bits_per_byte is not None else ": ".join(filter(None, (run.state, run.note))),
    )
    by_text: dict[str | None, list[ListedRun]] = {}
    for run in runs:
        by_text.setdefault(run.fingerprint, []).append(run)
    for text in [*filter(None, by_text), None]:
        if group := by_text.get(text):
            yield from (*wrapped(f"{_heading(group[0])}:"), *table.lines(group), "")
    yield from table.legend()
