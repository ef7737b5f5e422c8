"""`mlx-tiny study`: compares ways to train by several runs each, paired by their seeds."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_tiny.cli.options import UserPath
from mlx_tiny.cli.output import say, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlx_tiny.study.arms import Arm
    from mlx_tiny.study.results import Results

_REPEATED = {"disturbed": lambda run: run.disturbed, "failed": lambda run: run.failure is not None}


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[STUDY.yaml] [OPTIONS OF TRAIN]")
@click.option("--vary", multiple=True, help="A setting and its values, as in matrix-rate=0.01,0.02; may be repeated.")
@click.option("--seeds", help="How many seeds, from 0 on, or seeds such as 0,3,7. [default: those of the file, or 5]")
@click.option("--budget", help="Of each run: time, tokens, FLOPs or steps. [default: that of the file, or 5m]")
@click.option("--shares", default="1", show_default=True, help="Shares of the budget at which to compare, as in 0.1,1.")
@click.option("--halve", is_flag=True, help="Search: all arms at a small budget, the better half at twice as much, ...")
@click.option("--repeat", type=click.Choice(list(_REPEATED)), multiple=True, help="Do runs of the file again.")
@click.option("--output", type=UserPath(), help="File of the results. [default: studies/NAME-BUDGET.json]")
@click.option("--plot", type=UserPath(), help="Draw the runs to this PNG file; needs matplotlib.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    words: tuple[str, ...],
    vary: tuple[str, ...],
    seeds: str | None,
    budget: str | None,
    shares: str,
    halve: bool,
    repeat: tuple[str, ...],
    output: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare ways to train: each is run with the same seeds, and their differences are told from chance.

    The seed decides the first weights and the order of the data. Runs take turns, each in a process of its own. The
    results are written after each run, and the same command continues a study that was stopped. A difference counts
    where the p-value of the paired t-test is below 0.01. Options of `mlx-tiny train` go to all runs. A study file has
    arms of more than one option, or of another program:

    \b
      budget: 1Mtok
      options: --data notes.txt --samples 0
      arms:
        base:
        wide: --width 192 --heads 3
        other: {command: "python other.py --seed {seed} --budget {budget} --json {output}"}

    \b
      mlx-tiny study --vary matrix-rate=0.01,0.02 --seeds 5 --budget 1Mtok --data notes.txt
      mlx-tiny study study.yaml --budget 5m
    """
    from mlx_tiny.files import expanded, require_writable
    from mlx_tiny.machine.state import keep_awake
    from mlx_tiny.records import to_json
    from mlx_tiny.study.arms import Description, parse_seeds, parse_shares, parse_vary, read_description
    from mlx_tiny.study.comparison import draw, table
    from mlx_tiny.study.results import Results, alone, carry_out
    from mlx_tiny.study.results import halve as search
    from mlx_tiny.tools.plots import require_matplotlib

    if plot is not None:
        require_matplotlib()
    require_writable(plot)
    file = expanded(words[0]) if words and not words[0].startswith("-") else None
    if file is None and not vary:
        raise click.UsageError("Name what to compare: a study file, or for example --vary matrix-rate=0.01,0.02")
    if halve and shares != "1":
        raise click.UsageError("--halve chooses the shares of the budget itself")
    described = Description() if file is None else read_description(file)
    options = " ".join(filter(None, [described.options, shlex.join(words if file is None else words[1:])]))
    varied = [*map(parse_vary, vary)]
    if len(dict(varied)) < len(varied):
        raise click.UsageError("--vary names a setting twice: give all its values at once, with commas")
    settings = {**described.vary, **dict(varied)}
    described = dataclasses.replace(described, budget=budget or described.budget, options=options, vary=settings)
    arms, numbers = described.assembled(), parse_seeds(seeds or described.seeds or "5")
    require_known_options(arms)
    path = output or _default_output(file, arms)
    with alone(path), keep_awake():
        results = Results(path, arms)
        say(f"writing: {path}; the same command continues the study")
        for what in repeat:
            say(f"repeated: {results.forget(_REPEATED[what])} {what} runs")
        if halve:
            search(results, arms, numbers, say)
        else:
            for share in parse_shares(shares):
                carry_out(results, arms, numbers, share, say)
    if as_json:
        show(to_json(results.record))
    else:
        show("\n".join(["", *table(results.record.comparisons)]))
    _say_doubts(results)
    if plot is not None:
        draw(results.arms, results.runs, plot)
        say(f"drawn: {plot}")


def require_known_options(arms: Sequence[Arm]) -> None:
    """Refuse a run that `mlx-tiny train` would refuse for its words, before any is started."""
    from mlx_tiny.cli.train_command import command as train

    for arm in arms:
        if arm.command is None:
            words = shlex.split(arm.options)
            helps = {
                name for option in train.get_params(click.Context(train)) if option.is_eager for name in option.opts
            }
            if asked := helps.intersection(words):
                raise click.UsageError(f"A run of a study cannot have {', '.join(sorted(asked))}")
            train.make_context("mlx-tiny train", words)


def _default_output(file: Path | None, arms: Sequence[Arm]) -> Path:
    """A file with a name of its own for each study and budget, so that the same command finds it again."""
    from mlx_tiny.files import hash_text

    name = hash_text(*arms)[:8] if file is None else file.stem
    return Path("studies") / (re.sub(r"[^\w.-]", "_", f"{name}-{arms[0].budget}") + ".json")


def _unlike(results: Results) -> Iterator[str]:
    """What differs where only the seed or the settings of an arm are meant to."""
    if len(budgets := {arm.budget: arm.name for arm in results.arms}) > 1:
        shown = ", ".join(f"{budget} ({name})" for budget, name in budgets.items())
        yield f"the arms have different budgets: {shown}"
    if len({run.text for run in results.runs} - {None}) > 1:
        yield "the runs are not all measured on the same text, and only those that are make pairs"
    for arm, share in dict.fromkeys((run.arm, run.share) for run in results.runs):
        runs = [run for run in results.runs if (run.arm, run.share) == (arm, share)]
        if len({run.figures.get("parameters") for run in runs if run.failure is None}) > 1:
            yield f"the models of {arm} differ in size; name it, as --preset mini"


def _say_doubts(results: Results) -> None:
    """What makes the results less certain than the table looks.

    Raises:
        TinyError: no run has succeeded.
    """
    from mlx_tiny.errors import TinyError

    failed = [run for run in results.runs if run.failure is not None]
    for run in failed:
        say(f"failed: {run.arm}, seed {run.seed}: {run.failure}")
    for line in _unlike(results):
        say(f"warning: {line}")
    disturbed = sum(run.disturbed for run in results.runs)
    if disturbed:
        say(f"warning: other programs slowed {disturbed} runs down; --repeat disturbed does these again")
    if len({(run.machine.commit, run.machine.chip, *run.machine.versions.items()) for run in results.runs}) > 1:
        say("warning: the runs are not all from the same commit, versions and machine")
    if len(failed) == len(results.runs):
        raise TinyError("Every run of the study failed", remedy="--repeat failed does them again")
