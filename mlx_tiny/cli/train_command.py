"""`mlx-tiny train`: trains a model on a text within a budget, and writes a report."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli import from_run, session
from mlx_tiny.cli.dials import CommandWithDials, dial_options
from mlx_tiny.cli.groups import GroupedOption, help_all_option
from mlx_tiny.cli.options import UserPath, config_options, user_settings
from mlx_tiny.cli.output import say
from mlx_tiny.cli.resume import resume
from mlx_tiny.cli.session import SECTIONS
from mlx_tiny.config import DataConfig, RunConfig, TrainConfig
from mlx_tiny.config.presets import PORTABLE
from mlx_tiny.errors import TinyError
from mlx_tiny.export.target import TARGETS
from mlx_tiny.tools import laps
from mlx_tiny.tools.waiting import Waiting

if TYPE_CHECKING:
    from mlx_tiny.data.mixture import Mixture
    from mlx_tiny.data.sources import Source


class _TrainCommand(CommandWithDials):
    allow_extra_args = True
    first = frozenset(
        {
            *("run_path", "resume_path", "from_path", "targets"),
            *("data_sources", "data_validation"),
            *("train_budget", "train_preset", "train_seed"),
        }
    )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if extra := super().parse_args(ctx, args):
            raise click.UsageError(f"Got unexpected words: {' '.join(extra)}. {_meant(extra)}", ctx)
        return []


def _meant(words: list[str]) -> str:
    """How the user can say what words without an option seem to mean."""
    from mlx_tiny.units import parse_quantity

    with contextlib.suppress(TinyError):
        if len(words) == 1 and parse_quantity(words[0]) and not Path(words[0]).exists():
            return f"A budget is named by --budget: --budget {words[0]}"
    return f"A text is named by --data: {' '.join(f'--data {shlex.quote(word)}' for word in words)}"


@click.command(cls=_TrainCommand)
@click.option(
    "--run",
    "run_path",
    type=UserPath(),
    cls=GroupedOption,
    group="Output",
    help="Folder for the results. [default: runs/DATE-TIME]",
)
@click.option(
    "--resume",
    "resume_path",
    type=UserPath(),
    cls=GroupedOption,
    group="Run",
    help="Continue the run in this folder, up to --budget in all.",
)
@click.option(
    "--resume-from",
    type=click.Choice(["last", "best"]),
    default="last",
    show_default=True,
    cls=GroupedOption,
    group="Run",
    help="Checkpoint that --resume continues: `best` goes back to the lowest validation loss.",
)
@click.option(
    "--from",
    "--model",
    "from_path",
    type=UserPath(),
    cls=GroupedOption,
    group="Run",
    help="Start a new run from the weights and the tokenizer of the run in this folder, or of a qwen3 that other "
    "programs have written there (Hugging Face).",
)
@click.option(
    "--export",
    "targets",
    type=click.Choice(list(TARGETS)),
    multiple=True,
    cls=GroupedOption,
    group="Output",
    help="Write the model for other programs at the end, as `mlx-tiny export --to`; may be repeated. Takes the preset "
    "portable where none is named.",
)
@help_all_option
@dial_options
@config_options(*SECTIONS)
def command(
    run_path: Path | None,
    resume_path: Path | None,
    resume_from: str,
    from_path: Path | None,
    targets: tuple[str, ...],
    **flags: Any,
) -> None:
    """Train a small language model within a budget, and report how good it is.

    Without options, the run takes five minutes. It trains on TinyStories if that is in the cache, and on generated
    stories otherwise. The budget and the speed of this machine decide the size of the model. Examples:

    \b
      mlx-tiny train --budget 30s
      mlx-tiny train --data notes.txt --budget 20Mtok --run runs/notes
      mlx-tiny train --resume runs/notes --budget 40Mtok
      mlx-tiny train --resume runs/notes --budget 60Mtok --backend torch
      mlx-tiny train --from runs/notes --data letters.txt --budget 1m
    """
    laps.COMMAND.end("start")
    if resume_path is not None:
        if from_path is not None:
            raise click.UsageError("--resume continues a run, and --from starts a new one: name only one of them")
        with _exporting(resume_path, targets):
            resume(resume_path, run_path, flags, targets, best=resume_from == "best")
        return
    if resume_from != "last":
        raise click.UsageError("--resume-from goes with --resume")
    path = run_path or new_folder()
    if from_path is not None:
        with _exporting(path, targets):
            from_run.begin(path, from_path, flags, targets)
        return
    if targets and flags["train_preset"] is None:
        flags["train_preset"] = PORTABLE
    with _exporting(path, targets):
        _start(path, flags, targets)


@contextlib.contextmanager
def _exporting(path: Path, targets: Sequence[str]) -> Iterator[None]:
    """Export the run at `path` when the block, which trains it, has ended."""
    from mlx_tiny.export.target import require_free, usual_place
    from mlx_tiny.tools.processes import again
    from mlx_tiny.tools.signals import Interrupted
    from mlx_tiny.training.device_errors import DeviceError

    for target in targets:
        require_free(usual_place(path, target))
    try:
        yield
    except DeviceError as error:
        if error.continuation is not None:
            flags = tuple(f"--export={target}" for target in targets)
            error.continuation = dataclasses.replace(error.continuation, flags=flags)
        raise
    except Interrupted:
        for target in targets:
            say(
                f"not exported, because the run was interrupted; to do it: {again('export', str(path), '--to', target)}"
            )
        raise
    for target in targets:
        from mlx_tiny.cli.export_command import write

        write(path, None, target)


def new_folder() -> Path:
    """Where a run goes that the user gave no folder for."""
    return Path("runs") / time.strftime("%Y%m%d-%H%M%S")


def _start(path: Path, flags: dict[str, Any], targets: Sequence[str]) -> None:
    with Waiting("looking at the text"):
        from mlx_tiny.cli.fitting import require_memory
        from mlx_tiny.data.mixture import resolve_data
        from mlx_tiny.data.prepared import require_sequence
        from mlx_tiny.linux.warmup import CompilingAhead
        from mlx_tiny.training.checkpoint import RunFolder
        from mlx_tiny.training.counts import counted_tokens

        RunFolder.require_free(path)  # before the data is prepared in vain
        asked = {section: user_settings(flags, section) for section in SECTIONS}
        source = session.own_source(asked["data"])
        laps.COMMAND.end("look at the text")
    session.compile_operations(asked["train"].get("backend", TrainConfig.backend))
    with Waiting("measuring the machine, for which steps are compiled"):
        config, reason = _planned(asked, source or resolve_data(DataConfig(**asked["data"])))
        session.require_exportable(config.model, targets)
        source = source or resolve_data(config.data)
        laps.COMMAND.end("choose the size")
    # So that a resumed run uses the same data even if TinyStories has been downloaded in between.
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, sources=source.names))
    say(f"data: {source.description}")
    with contextlib.closing(CompilingAhead(config)) as ahead:
        exact = "vocabulary_size" in asked["data"]
        corpus, floors = session.prepared(config, source, exact_vocabulary=exact)
        model = dataclasses.replace(config.model, vocabulary_size=corpus.tokenizer.size)
        config = dataclasses.replace(config, model=model)
        require_sequence(corpus.parts, config.model.context)
        session.require_exportable(config.model, targets, corpus.tokenizer)
        # Once more, because the vocabulary is known only now, and no folder is left behind.
        require_memory(config, counted_tokens(corpus, config))
        run = RunFolder.create(path, config, session.identity(corpus), corpus.tokenizer)
        session.train(run, corpus, reason, floors, ahead, resume=False)


def _planned(asked: dict[str, dict[str, Any]], source: Source | Mixture) -> tuple[RunConfig, str]:
    """The configuration of the preset, changed by the user's settings, and the reason for the preset."""
    from mlx_tiny.study.plan import Text, choose, preset_for, text_bytes
    from mlx_tiny.study.speed import Speeds
    from mlx_tiny.training.budget import Budget

    standard = TrainConfig()
    budget = Budget(asked["train"].get("budget", standard.budget))
    speeds = Speeds(session.backend_kind(asked["train"].get("backend", standard.backend)))
    name = preset_for(asked["train"].get("preset", standard.preset), asked["data"])
    choice = choose(name, budget, asked, Text.of(source, asked["data"].get("train_bytes")), speeds)
    config = choice.config
    if choice.tokens is not None and "train_bytes" not in asked["data"]:
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, train_bytes=text_bytes(choice.tokens))
        )
    session.require_possible(config)
    return config, choice.reason
