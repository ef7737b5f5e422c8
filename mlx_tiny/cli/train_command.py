"""`mlx-tiny train`: trains a model on a text within a budget, and writes a report."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli.options import config_options, flag_name, shown, user_settings
from mlx_tiny.config import RunConfig, TrainConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.records import from_plain, to_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlx_tiny.data.prepare import PreparedCorpus
    from mlx_tiny.linux.warmup import CompilingAhead
    from mlx_tiny.training.backend import Backend
    from mlx_tiny.training.checkpoint import RunFolder
    from mlx_tiny.training.trainer import Outcome

_FINAL_SAMPLES = 3
# Matrix products of GPUs work on tiles of 8.
_HIDDEN_MULTIPLE = 8
_SECTIONS = ("train", "data", "model", "optimizer", "schedule")


@click.command()
@click.option(
    "--run", "run_path", type=click.Path(path_type=Path), help="Folder for the results. [default: runs/DATE-TIME]"
)
@click.option("--resume", "resume_path", type=click.Path(path_type=Path), help="Continue the run in this folder.")
@config_options(*_SECTIONS)
def command(run_path: Path | None, resume_path: Path | None, **flags: Any) -> None:
    """Train a small language model within a budget, and report how good it is.

    Without options, the run takes five minutes. It trains on TinyStories if that is in the cache, and on generated
    stories otherwise. The budget and the speed of this machine decide the size of the model. Examples:

    \b
      mlx-tiny train --budget 30s
      mlx-tiny train --data notes.txt --budget 20Mtok --run runs/notes
      mlx-tiny train --resume runs/notes --budget 40Mtok
      mlx-tiny train --resume runs/notes --budget 60Mtok --backend torch
    """
    if resume_path is not None:
        _resume(resume_path, run_path, flags)
    else:
        _start(run_path or Path("runs") / time.strftime("%Y%m%d-%H%M%S"), flags)


def _start(path: Path, flags: dict[str, Any]) -> None:
    from mlx_tiny.data.prepare import require_sequence
    from mlx_tiny.data.sources import resolve
    from mlx_tiny.linux.warmup import CompilingAhead
    from mlx_tiny.training.checkpoint import RunFolder

    RunFolder.require_free(path)  # before the data is prepared in vain
    config, reason = _planned(flags)
    source = resolve(config.data)
    # So that a resumed run uses the same data even if TinyStories has been downloaded in between.
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, sources=source.names))
    click.echo(f"data: {source.description}", err=True)
    with contextlib.closing(CompilingAhead(config)) as ahead:
        corpus, prepare_s = _prepared(config, source)
        require_sequence(corpus, config.model.context)
        run = RunFolder.create(path, config, _identity(corpus), corpus.directory / "tokenizer.model")
        _train(run, corpus, reason, prepare_s, ahead, resume=False, budget=None)


def _resume(path: Path, run_path: Path | None, flags: dict[str, Any]) -> None:
    from mlx_tiny.data.sources import resolve
    from mlx_tiny.linux.warmup import CompilingAhead
    from mlx_tiny.training.budget import Budget
    from mlx_tiny.training.checkpoint import RunFolder

    budget, backend, asked = (flags.pop(f"train_{name}") for name in ("budget", "backend", "implementation"))
    changed = [name for section in _SECTIONS for name in user_settings(flags, section)]
    if changed or run_path:
        raise click.UsageError(
            "--resume continues a run with its own settings; only --budget, --backend and --implementation go with it"
        )
    if budget is not None:
        Budget(budget)  # raises the error of a wrong budget now
    run = RunFolder(path)
    before = run.config.train
    changes: dict[str, Any] = {"budget": budget or before.budget, "backend": backend or before.backend}
    if asked or changes["backend"] != before.backend:
        # The implementations of one backend are not those of the other.
        changes["implementation"] = asked or "auto"
    run.config = dataclasses.replace(run.config, train=dataclasses.replace(before, **changes))
    _backend_kind(run.config.train.backend)  # raises the error of a missing PyTorch now
    _require_possible(run.config)
    source = resolve(run.config.data)
    click.echo(f"data: {source.description}", err=True)
    with contextlib.closing(CompilingAhead(run.config)) as ahead:
        corpus, prepare_s = _prepared(run.config, source)
        _train(run, corpus, "as the run was started", prepare_s, ahead, resume=True, budget=budget)


def _planned(flags: dict[str, Any]) -> tuple[RunConfig, str]:
    """The configuration of the preset, changed by the user's flags, and the reason for the preset."""
    from mlx_tiny.data.sources import NAMED
    from mlx_tiny.study.plan import choose, measured_flops_per_s, text_bytes
    from mlx_tiny.training.budget import Budget

    asked = {section: user_settings(flags, section) for section in _SECTIONS}
    standard = TrainConfig()
    budget = Budget(asked["train"].get("budget", standard.budget))
    make_backend = _backend_kind(asked["train"].get("backend", standard.backend))
    preset = asked["train"].get("preset", standard.preset)
    choice = choose(preset, budget, lambda: measured_flops_per_s(make_backend))
    values = to_plain(choice.preset.config())
    if choice.tokens is not None:
        values["data"]["train_bytes"] = text_bytes(choice.tokens)
    note = _fit_swiglu(values["model"], asked["model"])
    for section, settings in asked.items():
        values[section].update(settings)
    values["model"]["vocabulary_size"] = values["data"]["vocabulary_size"]
    values["train"]["preset"] = choice.preset.name
    values["data"]["sources"] = [name if name in NAMED else _absolute(name) for name in values["data"]["sources"]]
    if values["data"]["validation"] is not None:
        values["data"]["validation"] = _absolute(values["data"]["validation"])
    config = from_plain(RunConfig, values)
    _require_possible(config)
    return config, choice.reason + note


def _fit_swiglu(preset: dict[str, Any], asked: dict[str, Any]) -> str:
    """Where SwiGLU is asked for without a hidden width, take one with the preset's parameters; what to say of it."""
    if asked.get("activation") != "swiglu" or "hidden" in asked:
        return ""
    two = preset["hidden"]
    preset["hidden"] = max(1, round(2 / 3 * two / _HIDDEN_MULTIPLE)) * _HIDDEN_MULTIPLE
    return f"; hidden {preset['hidden']}: about as many parameters in three matrices as relu2 has in two with {two}"


def _require_possible(config: RunConfig) -> None:
    """Say before any data is prepared what cannot be computed here.

    Raises:
        TinyError: an option of the model or an implementation that is unknown, out of range, or not for this machine.
    """
    if config.train.backend == "torch":
        from mlx_tiny.reference.backend import attention_of

        attention_of(config.train.implementation)
    else:
        from mlx_tiny.training.step import step_implementations

        step_implementations(config)


def _absolute(pattern: str) -> str:
    """A path or glob that means the same when the run is resumed from another folder."""
    if not pattern:
        raise TinyError("The name of the text is empty", expected="a file, a folder or a glob")
    return str(Path.cwd() / Path(pattern).expanduser())


def _backend_kind(name: str) -> Callable[..., Backend]:
    """The class of a backend.

    Raises:
        TinyError: an unknown name, or PyTorch is missing or too old.
    """
    if TrainConfig(backend=name).backend == "torch":
        from mlx_tiny.reference.requirement import require_torch

        require_torch()
        from mlx_tiny.reference.backend import TorchBackend

        return TorchBackend
    from mlx_tiny.training.backend import MlxBackend

    return MlxBackend


def _prepared(config: RunConfig, source: Any) -> tuple[PreparedCorpus, float]:
    from mlx_tiny.cli.display import PreparationBar
    from mlx_tiny.data.prepare import prepare

    started, bar = time.monotonic(), PreparationBar()
    try:
        corpus = prepare(config.data, progress=bar, source=source)
    finally:
        bar.close()
    return corpus, time.monotonic() - started


def _identity(corpus: PreparedCorpus) -> dict[str, Any]:
    return {"key": corpus.key, "tokenizer": corpus.tokenizer.hash, "description": corpus.description}


def _train(
    run: RunFolder,
    corpus: PreparedCorpus,
    reason: str,
    prepare_s: float,
    ahead: CompilingAhead,
    *,
    resume: bool,
    budget: str | None,
) -> None:
    from mlx_tiny.cli.display import Display
    from mlx_tiny.machine.state import keep_awake
    from mlx_tiny.model.parameters import training_flops_per_token
    from mlx_tiny.training.trainer import Trainer
    from mlx_tiny.training.watch import Interruption

    waiting = time.monotonic()
    if ahead.busy:
        click.echo("compiling the kernels of a step (only once on this machine)", err=True)
    ahead.wait()  # before the peak is measured, because these processes use the cores
    compile_s = time.monotonic() - waiting
    config, notes = run.config, list[str]()
    backend = _backend_kind(config.train.backend)(config, notes.append)
    peak = backend.matmul_peak()
    display = Display(training_flops_per_token(config.model), peak)
    for line in [*_header(run, corpus, reason, backend, peak), *notes]:
        display.message(line)
    with run.locked(), contextlib.closing(display), keep_awake():
        trainer = Trainer(
            run,
            corpus,
            display,
            Interruption(),
            resume=resume,
            backend=backend,
            compile_s=compile_s,
        )
        outcome = trainer.train()
    _report(run, corpus, backend, outcome, peak, prepare_s, budget)


def _header(run: RunFolder, corpus: PreparedCorpus, reason: str, backend: Backend, peak: float) -> list[str]:
    """The header of a run: all settings, with a star after those that differ from the defaults."""
    from mlx_tiny.model.parameters import parameter_count, training_flops_per_token
    from mlx_tiny.units import format_count

    config, defaults = run.config, RunConfig()
    lines = [
        f"run: {run.path}",
        f"preset: {config.train.preset} ({reason})",
        f"model: {format_count(parameter_count(config.model))} parameters, "
        f"{format_count(training_flops_per_token(config.model))}FLOPs per token; train {len(corpus.train):,} tokens, "
        f"validation {len(corpus.valid):,} tokens, {corpus.bytes_per_token:.2f} bytes per token",
        f"machine: {peak / 1e9:,.0f} GFLOP/s in matrix products; {backend.description}",
    ]
    for section in _SECTIONS:
        settings, standard = getattr(config, section), getattr(defaults, section)
        words = []
        for field in dataclasses.fields(settings):
            value = getattr(settings, field.name)
            star = "*" if value != getattr(standard, field.name) else ""
            words.append(f"{flag_name(section, field.name)[2:]} {shown(value)}{star}")
        lines.append(f"{section}: {', '.join(words)}")
    return lines


def _report(
    run: RunFolder,
    corpus: PreparedCorpus,
    backend: Backend,
    outcome: Outcome,
    peak: float,
    prepare_s: float,
    budget: str | None,
) -> None:
    from mlx_tiny.cli.display import printable
    from mlx_tiny.report import report
    from mlx_tiny.tools.tables import block

    samples = [
        backend.sample(outcome.state, corpus.tokenizer, max_tokens=200, seed=seed) for seed in range(_FINAL_SAMPLES)
    ]
    session = report.Session(
        backend.description,
        backend.implementations,
        peak,
        backend.peak_memory_bytes(),
        prepare_s,
        samples,
    )
    built = report.build(run, corpus, outcome, session)
    report.write_report(run, built)
    click.echo(f"\n{printable(samples[0]).strip()}\n")
    if outcome.interrupted:
        again = shlex.join(["--resume", str(run.path), *(["--budget", budget] if budget else [])])
        click.echo(f"Interrupted; everything is saved. To continue: mlx-tiny train {again}\n")
    click.echo(block(report.summary(built, run.path)))
