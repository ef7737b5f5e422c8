"""One session of a run on the command line: data, header, training and report, for new and resumed runs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli.options import flag_name, shown
from mlx_tiny.cli.output import say, show
from mlx_tiny.config import DataConfig, RunConfig, TrainConfig
from mlx_tiny.records import TextOfRun
from mlx_tiny.tools.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlx_tiny.data.documents import Progress
    from mlx_tiny.data.events.schema import Schema
    from mlx_tiny.data.mixture import Corpus, Mixture
    from mlx_tiny.data.sources import Source
    from mlx_tiny.data.tokenizer import Tokenizer
    from mlx_tiny.linux.warmup import CompilingAhead
    from mlx_tiny.machine.state import State
    from mlx_tiny.report.record import TextStrength
    from mlx_tiny.tools.signals import Interruption
    from mlx_tiny.training.backend import Backend
    from mlx_tiny.training.checkpoint import RunFolder
    from mlx_tiny.training.trainer import Outcome

SECTIONS = ("train", "data", "model", "optimizer", "schedule")
_FINAL_SAMPLES, _FINAL_SAMPLE_TOKENS = 3, 200


def prepared(
    config: RunConfig, source: Source | Mixture, tokenizer: Tokenizer | None = None, *, exact_vocabulary: bool = False
) -> tuple[Corpus, float]:
    """The prepared data of a run, of which the essence is said, and the seconds that this took.

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
    )


def reopened(run: RunFolder) -> tuple[Corpus, float]:
    """The prepared data of a run that goes on, of which the essence is said, and the seconds that this took."""
    from mlx_tiny.training.own_text import own_text

    return _shown(lambda progress: own_text(run, progress, say), run.inherited_tokenizer())


def _shown(make: Callable[[Progress], Corpus], tokenizer: Tokenizer | None) -> tuple[Corpus, float]:
    """What `make` gives, with its progress, what it contains, and the seconds that it took."""
    from mlx_tiny.cli.display import PreparationProgress
    from mlx_tiny.data.summary import summary
    from mlx_tiny.training.counted import counting_alone, described

    started, bar = time.monotonic(), PreparationProgress()
    try:
        corpus = make(bar)
        counted = [counting_alone(part.corpus, bar) for part in corpus.parts]
    finally:
        bar.close()
    for part, floor in zip(corpus.parts, counted, strict=True):
        for line in summary(part.corpus.record):
            say(line)
        if floor is not None:
            say(f"counting alone: {floor.bits_per_byte:.4f} bits per byte ({described(floor, part.corpus)})")
    roles = {role for part in corpus.parts for role in part.corpus.record.found.roles}
    unknown = sorted(roles - corpus.tokenizer.markers.keys())
    if tokenizer is not None and unknown:
        say(
            f"warning: the tokenizer of the other run has no symbol for the roles {', '.join(unknown)}: their markers "
            f"are spelled out, and generation does not stop at them"
        )
    return corpus, time.monotonic() - started


def identity(corpus: Corpus) -> TextOfRun:
    """What a run remembers of its data."""
    from mlx_tiny.data.lines import are_single_lines

    single = all(are_single_lines(part.corpus.train, corpus.tokenizer) for part in corpus.parts)
    return TextOfRun(corpus.key, corpus.tokenizer.hash, corpus.description, single)


def own_text(asked: dict[str, Any], schema: Schema | None = None) -> Source | Mixture | None:
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


def require_possible(config: RunConfig) -> None:
    """Say before any data is prepared what cannot be computed here.

    Raises:
        TinyError: an option of the model or an implementation that is unknown, out of range, or not for this machine;
            or training does not fit in memory.
    """
    from mlx_tiny.cli.fitting import require_memory

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
    run: RunFolder, corpus: Corpus, reason: str, prepare_s: float, ahead: CompilingAhead, *, resume: bool
) -> None:
    """Spend what is left of the budget, and write the report.

    Args:
        reason: for the preset.
        prepare_s: seconds that the data took.
        ahead: the processes that compile for this session.

    Raises:
        TinyError: another process is training the run, or one of the errors of `Trainer`.
    """
    from mlx_tiny.cli import restart
    from mlx_tiny.cli.display import Display
    from mlx_tiny.cli.fitting import expected_memory
    from mlx_tiny.cli.streams import lenient
    from mlx_tiny.machine.load import OtherPrograms, best_look, is_busy
    from mlx_tiny.machine.state import keep_awake, state
    from mlx_tiny.model.parameters import training_flops_per_token
    from mlx_tiny.report.report import mark_continued
    from mlx_tiny.tools.signals import Interruption
    from mlx_tiny.training.origin import doubts
    from mlx_tiny.training.trainer import Trainer

    waiting = time.monotonic()
    with Waiting("compiling the kernels of a step, once on this machine", lambda: f"{ahead.compiled} so far"):
        ahead.wait()
    compile_s = time.monotonic() - waiting
    config, notes = run.config, list[str]()
    with Waiting("measuring the machine"):  # not before, because the compilers use the cores
        backend = backend_kind(config.train.backend)(config, notes.append)
        at_start = state()
        peak, other_cores = best_look(backend.matmul_peak)
        at_start = dataclasses.replace(at_start, other_cores=other_cores)
        memory_bytes, lines = expected_memory(config)
        header = [*_header(run, corpus, reason, backend, peak), *lines, *_of_state(at_start)]
    display = Display(
        training_flops_per_token(config.model),
        peak,
        budget=config.train.budget,
        bytes_per_event=corpus.bytes_per_event,
    )
    before = [] if run.origin is None else doubts(run.origin)
    for line in [*header, *before, *notes, *restart.lines()]:
        display.message(line)
    interruption = click.get_current_context().ensure_object(Interruption)
    with contextlib.ExitStack() as whole:
        # What a run shows is not its result, so that it goes on where nobody reads it.
        for context in (interruption.answering(), contextlib.redirect_stdout(lenient(sys.stdout)), run.locked()):
            whole.enter_context(context)
        with contextlib.closing(display), keep_awake():
            trainer = Trainer(
                run,
                corpus,
                display,
                interruption,
                resume=resume,
                backend=backend,
                compile_s=compile_s,
                restarts=restart.counts()[1],
            )
            if resume:
                mark_continued(run)
            whole.enter_context(restart.offered(trainer))
            others = OtherPrograms()
            outcome = trainer.train()
            other_cores = others.cores()
        if is_busy(at_start.other_cores) or is_busy(other_cores):
            peak = max(peak, backend.matmul_peak())
        _report(run, corpus, backend, outcome, interruption, peak, prepare_s, at_start, other_cores, memory_bytes)
        interruption.end_if_requested()


def _of_state(at_start: State) -> list[str]:
    """The state of the machine for the header, and a warning where it makes a run slower."""
    from mlx_tiny.linux.lanes import on_cpu
    from mlx_tiny.records import to_plain
    from mlx_tiny.tools.tables import readable

    found = at_start.disturbances(on_cpu=on_cpu())
    warning = [f"warning: {'; '.join(found)}: this machine may train slower than it can"] if found else []
    return [f"{name}: {text}" for name, text in readable({"state": to_plain(at_start)}).items()] + warning


def _header(run: RunFolder, corpus: Corpus, reason: str, backend: Backend, peak: float) -> list[str]:
    """The header of a run: all settings, with a star after those that differ from the defaults."""
    from mlx_tiny.model.parameters import parameter_count, training_flops_per_token
    from mlx_tiny.units import format_count

    config, defaults = run.config, RunConfig()
    lines = [
        f"run: {run.path}",
        f"preset: {config.train.preset} ({reason})",
        f"model: {format_count(parameter_count(config.model))} parameters, "
        f"{format_count(training_flops_per_token(config.model))}FLOPs per token; {_amounts(corpus)}",
        f"machine: {peak / 1e9:,.0f} GFLOP/s in matrix products; {backend.description}",
    ]
    for section in SECTIONS:
        settings, standard = getattr(config, section), getattr(defaults, section)
        words = []
        for field in dataclasses.fields(settings):
            value = getattr(settings, field.name)
            star = "*" if value != getattr(standard, field.name) else ""
            words.append(f"{flag_name(section, field.name)[2:]} {shown(value)}{star}")
        lines.append(f"{section}: {', '.join(words)}")
    return lines


def _amounts(corpus: Corpus) -> str:
    """How many tokens there are, of all texts together."""
    texts = [part.corpus for part in corpus.parts]
    train, valid = (sum(len(getattr(text, split)) for text in texts) for split in ("train", "valid"))
    per_token = sum(text.valid_bytes for text in texts) / (valid - len(texts))
    events = [f", {text.bytes_per_event:.1f} bytes per event" for text in texts if text.bytes_per_event]
    return f"train {train:,} tokens, validation {valid:,} tokens, {per_token:.2f} bytes per token{''.join(events)}"


def _report(
    run: RunFolder,
    corpus: Corpus,
    backend: Backend,
    outcome: Outcome,
    interruption: Interruption,
    peak: float,
    prepare_s: float,
    at_start: State,
    other_cores: float | None,
    expected_memory_bytes: int,
) -> None:
    with Waiting("the report"):
        from mlx_tiny.report import report
        from mlx_tiny.tools.tables import block

        sample = functools.partial(backend.sample, outcome.state, corpus.tokenizer, max_tokens=_FINAL_SAMPLE_TOKENS)
        count = 1 if outcome.interrupted else _FINAL_SAMPLES
        samples = [interruption.surely(functools.partial(sample, seed=seed)) for seed in range(count)]
        session = report.Session(
            backend.description,
            backend.implementations,
            peak,
            backend.peak_memory_bytes(),
            prepare_s,
            samples,
            at_start,
            other_cores,
            expected_memory_bytes,
        )
        old: list[TextStrength] = []
        with interruption.cut():
            old = _old_texts(run, corpus, backend, outcome)
        outcome = dataclasses.replace(outcome, interrupted=interruption.name)
        built = report.build(run, corpus, outcome, session, old)
        report.write_report(run, built)
    show(f"\n{samples[0].strip()}\n")
    if built.interrupted:
        again = shlex.join(["--resume", str(run.path)])
        show(f"Interrupted; everything is saved. To continue: mlx-tiny train {again}\n")
    for line in report.table_of_texts(built):
        say(line)
    if report.beaten(built):
        say("Counting alone is stronger than this model so far; a larger budget trains it further.")
    show(block(report.summary(built, run.path)))


def _old_texts(run: RunFolder, corpus: Corpus, backend: Backend, outcome: Outcome) -> list[TextStrength]:
    """How good the model is now on the texts of the run that it started from, if it did and they are in the cache."""
    from mlx_tiny.report.record import TextStrength
    from mlx_tiny.training.backend import evaluate_text
    from mlx_tiny.training.evaluate import fingerprint
    from mlx_tiny.training.learned import count_learned_validation
    from mlx_tiny.training.origin import old_text_of

    origin = run.origin
    if origin is None or outcome.interrupted or (old := old_text_of(origin)) is None:
        return []
    found = []
    for text in [part.corpus for part in old.parts]:
        mark = fingerprint(text.valid_text_hash)
        after = evaluate_text(backend, outcome.state, text, None).bits_per_byte
        strength = after, origin.before.get(mark), text.floor_bits_per_byte
        documents = text.record.valid.documents, count_learned_validation(text, [corpus])
        sources = text.record.settings.sources
        found.append(TextStrength(text.description, None, 0.0, *strength, mark, *documents, sources))
    return found
