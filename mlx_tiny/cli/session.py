"""One session of a run on the command line: data, header, training and report, for new and resumed runs."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli.output import say
from mlx_tiny.cli.results import Floors, Start, report
from mlx_tiny.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.records import TextOfRun
from mlx_tiny.tools.laps import COMMAND
from mlx_tiny.tools.waiting import Waiting
from mlx_tiny.units import format_flops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlx_tiny.data.documents import Progress
    from mlx_tiny.data.events.schema import Schema
    from mlx_tiny.data.mixture import Corpus, Mixture
    from mlx_tiny.data.sources import Source
    from mlx_tiny.data.tokenizer import Tokenizer
    from mlx_tiny.linux.warmup import CompilingAhead
    from mlx_tiny.training.backend import Backend
    from mlx_tiny.training.checkpoint import RunFolder

SECTIONS = ("train", "data", "model", "optimizer", "schedule")
MEASURING = "measure the machine"
"""The name of a phase."""


def prepared(
    config: RunConfig, source: Source | Mixture, tokenizer: Tokenizer | None = None, *, exact_vocabulary: bool = False
) -> tuple[Corpus, Floors]:
    """The prepared data of a run, of which the essence is said.

    Args:
        tokenizer: of the run that it starts from, if it does.
        exact_vocabulary: see `prepare`.
    """
    from mlx_tiny.data.mixture import prepare_data

    return _shown(
        lambda progress: prepare_data(
            config.data,
            progress=progress,
            source=source,
            tokenizer=tokenizer,
            exact_vocabulary=exact_vocabulary,
            tell=say,
        ),
        tokenizer,
        config,
    )


def reopened(run: RunFolder) -> tuple[Corpus, Floors]:
    """The prepared data of a run that goes on, of which the essence is said."""
    from mlx_tiny.training.own_text import own_text

    return _shown(lambda progress: own_text(run, progress, say), run.inherited_tokenizer(), run.config)


def _shown(make: Callable[[Progress], Corpus], tokenizer: Tokenizer | None, config: RunConfig) -> tuple[Corpus, Floors]:
    """What `make` gives, with its progress, and what it contains; with as much validation text as the run measures."""
    from mlx_tiny.cli.display import PreparationProgress
    from mlx_tiny.data.shortened import extent_line, shortened
    from mlx_tiny.data.summary import summary
    from mlx_tiny.training.counted import COUNTING, counting_alone, described
    from mlx_tiny.training.extent import measured_bytes

    bar, floors = PreparationProgress(), Floors()
    try:
        whole = make(bar)
        corpus = shortened(whole, measured_bytes(config))
        COMMAND.end("prepare data")
        if not config.train.counting:
            floors = [counting_alone(part.corpus, bar) for part in corpus.parts]
            COMMAND.end("count alone")
    finally:
        bar.close()
    if (less := extent_line(whole, corpus)) is not None:
        say(less)
    for part in corpus.parts:
        for line in summary(part.corpus.record):
            say(line)
    for part, floor in zip(corpus.parts, floors, strict=False):
        if floor is not None:
            say(f"{COUNTING} ({described(floor, part.corpus)}), reaches {floor.bits_per_byte:.4f} bits per byte")
    roles = {role for part in corpus.parts for role in part.corpus.record.found.roles}
    unknown = sorted(roles - corpus.tokenizer.markers.keys())
    if tokenizer is not None and unknown:
        say(
            f"warning: the tokenizer of the other run has no symbol for the roles {', '.join(unknown)}: their markers "
            f"are spelled out, and generation does not stop at them"
        )
    return corpus, floors


def identity(corpus: Corpus) -> TextOfRun:
    """What a run remembers of its data."""
    from mlx_tiny.data.lines import are_single_lines

    single = all(are_single_lines(part.corpus.train, corpus.tokenizer) for part in corpus.parts)
    return TextOfRun(corpus.key, corpus.tokenizer.hash, corpus.description, single)


def own_source(asked: dict[str, Any], schema: Schema | None = None) -> Source | Mixture | None:
    """The user's own text, looked at before the machine is measured; None where the text is not the user's alone.

    Args:
        asked: the user's settings of the section `data`; their names are made absolute.
        schema: see `resolve`.

    Raises:
        TinyError: there is no such text, or it cannot be read.
    """
    from mlx_tiny.data.mixture import absolute_names, own_files, resolve_data

    asked.update(absolute_names(asked))
    config = DataConfig(**asked)
    own = config.sources if config.schema is not None else own_files(config.sources)
    source = resolve_data(config, schema) if own else None
    # How much of stories or TinyStories is taken depends on the budget, which is looked at later.
    return source if len(own) == len(config.sources) else None


def compile_operations(backend: str = TrainConfig.backend) -> None:
    """Compile the operations in C++ where that was not done on this machine, before anything is decided or measured."""
    from mlx_tiny.linux import lanes, native
    from mlx_tiny.training.phases import COMPILING

    if backend == "mlx":
        lanes.prepare()
        with Waiting("compiling the operations of a step, once on this machine"):
            native.prepare()
        COMMAND.end(COMPILING)


def require_exportable(model: ModelConfig, targets: Sequence[str], tokenizer: Tokenizer | None = None) -> None:
    """Refuse before the training what would be refused after it, and say what will be exported.

    Args:
        targets: names in `TARGETS`.
        tokenizer: None where it is not known yet; then nothing is said.

    Raises:
        TinyError: a target cannot represent the model or the tokenizer, or what writes it is not installed.
    """
    from mlx_tiny.export.target import TARGETS, require_exportable

    for target in targets:
        require_exportable(model, target)
        if tokenizer is not None:
            from mlx_tiny.export.tokenizer_json import tokenizer_files

            tokenizer_files(tokenizer, model.context)
            say(f"export: {TARGETS[target].summary}, when the run has ended")


def require_possible(config: RunConfig) -> None:
    """Say before any data is prepared what cannot be computed here.

    Raises:
        TinyError: an option of the model or an implementation that is unknown, out of range, or not for this machine;
            the model is to be portable and is not; or training does not fit in memory.
    """
    from mlx_tiny.cli.fitting import require_memory
    from mlx_tiny.config.presets import is_portable
    from mlx_tiny.model.portable import obstacles
    from mlx_tiny.training.tracking import require_tracker

    if is_portable(config.train.preset) and (found := obstacles(config.model)):
        raise TinyError(
            f"The model of the preset {config.train.preset} would not be portable",
            expected="a model that the architecture qwen3 represents exactly",
            got="; ".join(f"{name}: {reason}" for name, reason in found.items()),
            remedy="Leave that setting out, or take the recipe strongest",
        )
    require_tracker(config.train.track)
    require_memory(config)
    if config.train.backend == "torch":
        from mlx_tiny.reference.backend import attention_of

        attention_of(config.train.implementation)
    else:
        from mlx_tiny.training.step import step_implementations

        step_implementations(config)


def backend_kind(name: str) -> Callable[..., Backend]:
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


def train(
    run: RunFolder,
    corpus: Corpus,
    reason: str,
    floors: Floors,
    ahead: CompilingAhead,
    *,
    resume: bool,
) -> None:
    """Spend what is left of the budget, and write the report.

    Args:
        reason: for the preset.
        floors: see `prepared`.
        ahead: the processes that compile for this session.

    Raises:
        TinyError: another process is training the run, or one of the errors of `Trainer`.
    """
    from mlx_tiny.cli import restart
    from mlx_tiny.cli.display import Display
    from mlx_tiny.cli.streams import lenient
    from mlx_tiny.machine.load import OtherPrograms, is_busy
    from mlx_tiny.machine.state import keep_awake
    from mlx_tiny.model.parameters import training_flops_per_token
    from mlx_tiny.report.report import mark_continued
    from mlx_tiny.tools.signals import Interruption
    from mlx_tiny.training.tracking import UNTRACKED, tracked
    from mlx_tiny.training.trainer import Trainer

    start = _start(run, corpus, reason, ahead)
    peak, config = start.peak_flops_per_s, run.config
    display = Display(
        training_flops_per_token(config.model),
        peak,
        budget=config.train.budget,
        bytes_per_event=corpus.bytes_per_event,
    )
    for line in [*start.header, *restart.lines()]:
        display.message(line)
    interruption = click.get_current_context().ensure_object(Interruption)
    with contextlib.ExitStack() as whole:
        # What a run shows is not its result, so that it goes on where nobody reads it.
        for context in (interruption.answering(), contextlib.redirect_stdout(lenient(sys.stdout)), run.locked()):
            whole.enter_context(context)
        COMMAND.end(MEASURING)
        with contextlib.closing(display), keep_awake(), tracked(display, run, resumed=resume) as listener:
            if config.train.track != UNTRACKED:
                COMMAND.end("start the tracker")
            trainer = Trainer(
                run,
                corpus,
                listener,
                interruption,
                resume=resume,
                backend=start.backend,
                before=COMMAND.seconds,
                restarts=restart.counts()[1],
            )
            if resume:
                mark_continued(run)
            whole.enter_context(restart.offered(trainer))
            others = OtherPrograms()
            before_s = sum(trainer.phases.seconds.values())
            outcome = trainer.train()
            listener.ended(outcome)
            other_cores = others.cores()
            rest_s = COMMAND.end("train") - (sum(outcome.phases.values()) - before_s)
            outcome = outcome.with_phases({"other": rest_s})
        if is_busy(start.state.other_cores) or is_busy(other_cores):
            start = dataclasses.replace(start, peak_flops_per_s=max(peak, start.backend.matmul_peak()))
            outcome = outcome.with_phases({MEASURING: COMMAND.end(MEASURING)})
        report(run, corpus, start, outcome, interruption, floors, other_cores)
        interruption.end_if_requested()


def _start(run: RunFolder, corpus: Corpus, reason: str, ahead: CompilingAhead) -> Start:
    """Wait for the compilers, and measure the machine, which they leave free then."""
    from mlx_tiny.cli.fitting import expected_memory
    from mlx_tiny.cli.header import header
    from mlx_tiny.machine.load import best_look
    from mlx_tiny.machine.state import state
    from mlx_tiny.training.counts import counted_tokens
    from mlx_tiny.training.phases import COMPILING

    COMMAND.end("begin the run")
    with Waiting("compiling the kernels of a step, once on this machine", lambda: f"{ahead.compiled} so far"):
        ahead.wait()
    COMMAND.end(COMPILING)
    notes = list[str]()
    with Waiting("measuring the machine"):
        backend = backend_kind(run.config.train.backend)(run.config, notes.append)
        at_start = state()
        peak, other_cores = best_look(backend.matmul_peak)
        at_start = dataclasses.replace(at_start, other_cores=other_cores)
        memory_bytes, memory, warnings = expected_memory(run.config, counted_tokens(corpus, run.config))
        framework = backend.description.partition(";")[0]
        machine = f"machine: {format_flops(peak, '/s')} in matrix products, {framework}; {memory}"
        lines = header(run, corpus, reason, [machine, *notes, *warnings], at_start)
    return Start(backend, peak, at_start, memory_bytes, lines)
