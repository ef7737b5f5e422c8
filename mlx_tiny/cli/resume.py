"""`mlx-tiny train --resume`: what a further session of a run will do, decided and said before it begins."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli import session
from mlx_tiny.cli.options import user_settings
from mlx_tiny.cli.output import say, show
from mlx_tiny.errors import TinyError
from mlx_tiny.tools import laps
from mlx_tiny.tools.processes import again

if TYPE_CHECKING:
    from mlx_tiny.records import Progress
    from mlx_tiny.report.record import Report
    from mlx_tiny.training.budget import Budget
    from mlx_tiny.training.checkpoint import RunFolder

_OF_A_SESSION = ("budget", "backend", "implementation", "track")


def resume(
    path: Path, run_path: Path | None, flags: dict[str, Any], targets: Sequence[str] = (), *, best: bool = False
) -> None:
    """Continue the run at `path` within its budget or a larger one; a run that has spent it is left as it is.

    Args:
        run_path, flags: what the user gave beside `--resume`.
        targets: what will be exported.
        best: go back to the best checkpoint.

    Raises:
        TinyError: no run, or a budget that the run has spent already.
        UsageError: a flag that would change the run.
    """
    from mlx_tiny.linux.warmup import CompilingAhead
    from mlx_tiny.training.budget import Budget
    from mlx_tiny.training.checkpoint import RunFolder

    asked = {name: flags.pop(f"train_{name}") for name in _OF_A_SESSION}
    changed = [name for section in session.SECTIONS for name in user_settings(flags, section)]
    if changed or run_path:
        raise click.UsageError(
            "--resume continues a run with its own settings; only --budget, --backend, --implementation and --track go "
            "with it"
        )
    if asked["budget"] is not None:
        Budget(asked["budget"])  # raises the error of a wrong budget now
    run = RunFolder(path)
    before = run.config
    run.config = dataclasses.replace(before, train=dataclasses.replace(before.train, **_changes(run, asked)))
    session.backend_kind(run.config.train.backend)  # raises the error of a missing PyTorch now
    laps.COMMAND.end("look at the run")
    session.compile_operations(run.config.train.backend)
    session.require_possible(run.config)
    session.require_exportable(run.config.model, targets, run.load_tokenizer() if targets else None)
    lines = []
    if best:
        run.resumes_from = "best"
    if best or run.has_checkpoint():
        _, progress = run.load_checkpoint(run.resumes_from)
        if run.config.train.budget != before.train.budget:
            lines = _new_budget(run, before.train.budget, progress)
        elif (report := _report_of_the_end(run, progress)) is not None:
            _say_finished(run, report)
            return
    for line in (f"data: {run.corpus.description}, as it was when the run was started", *lines):
        say(line)
    laps.COMMAND.end("look at the run")
    with contextlib.closing(CompilingAhead(run.config)) as ahead:
        corpus, floors = session.reopened(run)
        session.train(run, corpus, "as the run was started", floors, ahead, resume=True)


def _changes(run: RunFolder, asked: dict[str, Any]) -> dict[str, Any]:
    """The settings that this session changes."""
    from mlx_tiny.training.budget import Budget

    before = run.config.train
    changes = {name: value for name, value in asked.items() if value is not None}
    if "budget" in changes and Budget(changes["budget"]).equals(before.budget):
        del changes["budget"]
    if changes.get("backend", before.backend) != before.backend:
        # The implementations of one backend are not those of the other.
        changes.setdefault("implementation", "auto")
    return changes


def _new_budget(run: RunFolder, old: str, progress: Progress) -> list[str]:
    """What another budget means for the learning rate, in lines.

    Raises:
        TinyError: the run has spent as much already.
    """
    from mlx_tiny.optim.schedule import rate_multiplier

    schedule = run.config.schedule
    account = _account(run, run.config.train.budget, progress)
    if account.exhausted(account.spent / max(1, progress.step)):
        raise TinyError(
            f"The run at {run.path} has spent {account.describe_spent()} already, and is left as it is",
            expected="a budget with room for another step",
            got=account.text,
            remedy="Name a larger budget, or start a new run",
        )
    was = rate_multiplier(schedule, _account(run, old, progress).fraction)
    now = rate_multiplier(schedule, account.fraction)
    rises = ": it rises again" if now > was else ""
    falls = 1 - schedule.cooldown
    when = f"from {falls:.0%} of the budget on" if account.fraction < falls else "from here on"
    return [
        f"new budget: {account.text} in place of {old}, and {account.fraction:.0%} of it is spent",
        f"learning rate: {was:.0%} of its peak where the run stopped, {now:.0%} from here{rises}, and falls {when}",
    ]


def _account(run: RunFolder, budget: str, progress: Progress) -> Budget:
    from mlx_tiny.training.counts import account

    train = dataclasses.replace(run.config.train, budget=budget)
    return account(train, progress)


def _report_of_the_end(run: RunFolder, progress: Progress) -> Report | None:
    """The report of a run that has spent its budget and lacks nothing, else None."""
    from mlx_tiny.report.report import describes, read_report
    from mlx_tiny.training.counting_file import read_counting

    if not _account(run, run.config.train.budget, progress).equals(progress.spent_budget):
        return None
    with contextlib.suppress(TinyError):  # what is damaged or missing is written again
        run.load_weights()
        report = read_report(run)
        if not run.has_ended() or report.interrupted or report.continued:
            return None
        if describes(report, run):
            if run.config.train.counting and read_counting(run) is None:
                return None
            return report
        say(f"warning: the report in {run.path} is not that of its weights: both are written again")
    return None


def _say_finished(run: RunFolder, report: Report) -> None:
    from mlx_tiny.report.report import summary
    from mlx_tiny.tools.tables import block

    say(
        f"The run has spent its budget of {run.config.train.budget}: no step is taken and nothing changes. "
        f"To go on, name a larger one: {again('train', '--resume', str(run.path), '--budget')} BUDGET"
    )
    show(block(summary(report, run.path)))
