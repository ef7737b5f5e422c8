"""One session of a run on the command line: data, header, training and report, for new and resumed runs."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mlx_tiny.cli.output import say, show
from mlx_tiny.config import DataConfig, RunConfig, TrainConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.records import TextOfRun
from mlx_tiny.tools.waiting import Waiting
from mlx_tiny.units import format_flops

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
    from mlx_tiny.training.counted import Counted
    from mlx_tiny.training.outcome import Outcome

SECTIONS = ("train", "data", "model", "optimizer", "schedule")
_FINAL_SAMPLES, _FINAL_SAMPLE_TOKENS = 3, 200


class Preparation(NamedTuple):
    """What is known of the preparation of data."""

    seconds: float
    counted: list[Counted | None]
    """The strength of counting alone on each text."""


def prepared(
    config: RunConfig, source: Source | Mixture, tokenizer: Tokenizer | None = None, *, exact_vocabulary: bool = False
) -> tuple[Corpus, Preparation]:
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


def reopened(run: RunFolder) -> tuple[Corpus, Preparation]:
    """The prepared data of a run that goes on, of which the essence is said."""
    from mlx_tiny.training.own_text import own_text

    return _shown(lambda progress: own_text(run, progress, say), run.inherited_tokenizer(), run.config)


def _shown(
    make: Callable[[Progress], Corpus], tokenizer: Tokenizer | None, config: RunConfig
) -> tuple[Corpus, Preparation]:
    """What `make` gives, with its progress, and what it contains; with as much validation text as the run measures."""
    from mlx_tiny.cli.display import PreparationProgress
    from mlx_tiny.data.shortened import extent_line, shortened
    from mlx_tiny.data.summary import summary
    from mlx_tiny.training.counted import COUNTING, counting_alone, described
    from mlx_tiny.training.extent import measured_bytes

    started, bar = time.monotonic(), PreparationProgress()
    try:
        whole = make(bar)
        corpus = shortened(whole, measured_bytes(config))
        counted = [counting_alone(part.corpus, bar) for part in corpus.parts]
    finally:
        bar.close()
    if (less := extent_line(whole, corpus)) is not None:
        say(less)
    for part, floor in zip(corpus.parts, counted, strict=True):
        for line in summary(part.corpus.record):
            say(line)
        if floor is not None:
            say(f"{COUNTING} ({described(floor, part.corpus)}), reaches {floor.bits_per_byte:.4f} bits per byte")
    roles = {role for part in corpus.parts for role in part.corpus.record.found.roles}
    unknown = sorted(roles - corpus.tokenizer.markers.keys())
    if tokenizer is not None and unknown:
        say(
            f"warning: the tokenizer of the other run has no symbol for the roles {', '.join(unknown)}: their markers "
            f"are spelled out, and generation does not stop at them"
        )
    return corpus, Preparation(time.monotonic() - started, counted)


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


def require_possible(config: RunConfig) -> None:
    """Say before any data is prepared what cannot be computed here.

    Raises:
        TinyError: an option of the model or an implementation that is unknown, out of range, or not for this machine;
            the model is to be portable and is not; or training does not fit in memory.
    """
    from mlx_tiny.cli.fitting import require_memory
    from mlx_tiny.config.presets import is_portable
    from mlx_tiny.model.portable import obstacles

    if is_portable(config.train.preset) and (found := obstacles(config.model)):
        raise TinyError(
            f"The model of the preset {config.train.preset} would not be portable",
            expected="a model that the architecture qwen3 represents exactly",
            got="; ".join(f"{name}: {reason}" for name, reason in found.items()),
            remedy="Leave that setting out, or take the recipe strongest",
        )
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


@dataclass(frozen=True)
class _Start:
    """What is known before the first step of a session."""

    backend: Backend
    peak_flops_per_s: float
    state: State
    expected_memory_bytes: int
    compile_s: float
    header: list[str]


def train(
    run: RunFolder,
    corpus: Corpus,
    reason: str,
    preparation: Preparation,
    ahead: CompilingAhead,
    *,
    resume: bool,
) -> None:
    """Spend what is left of the budget, and write the report.

    Args:
        reason: for the preset.
        preparation: of the data.
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
        with contextlib.closing(display), keep_awake():
            trainer = Trainer(
                run,
                corpus,
                display,
                interruption,
                resume=resume,
                backend=start.backend,
                compile_s=start.compile_s,
                restarts=restart.counts()[1],
            )
            if resume:
                mark_continued(run)
            whole.enter_context(restart.offered(trainer))
            others = OtherPrograms()
            outcome = trainer.train()
            other_cores = others.cores()
        if is_busy(start.state.other_cores) or is_busy(other_cores):
            start = dataclasses.replace(start, peak_flops_per_s=max(peak, start.backend.matmul_peak()))
        _report(run, corpus, start, outcome, interruption, preparation, other_cores)
        interruption.end_if_requested()


def _start(run: RunFolder, corpus: Corpus, reason: str, ahead: CompilingAhead) -> _Start:
    """Wait for the compilers, and measure the machine, which they leave free then."""
    from mlx_tiny.cli.fitting import expected_memory
    from mlx_tiny.cli.header import header
    from mlx_tiny.machine.load import best_look
    from mlx_tiny.machine.state import state
    from mlx_tiny.training.counts import counted_tokens

    waiting = time.monotonic()
    with Waiting("compiling the kernels of a step, once on this machine", lambda: f"{ahead.compiled} so far"):
        ahead.wait()
    compile_s, notes = time.monotonic() - waiting, list[str]()
    with Waiting("measuring the machine"):
        backend = backend_kind(run.config.train.backend)(run.config, notes.append)
        at_start = state()
        peak, other_cores = best_look(backend.matmul_peak)
        at_start = dataclasses.replace(at_start, other_cores=other_cores)
        memory_bytes, memory, warnings = expected_memory(run.config, counted_tokens(corpus, run.config))
        framework = backend.description.partition(";")[0]
        machine = f"machine: {format_flops(peak, '/s')} in matrix products, {framework}; {memory}"
        lines = header(run, corpus, reason, [machine, *notes, *warnings], at_start)
    return _Start(backend, peak, at_start, memory_bytes, compile_s, lines)


def _report(
    run: RunFolder,
    corpus: Corpus,
    start: _Start,
    outcome: Outcome,
    interruption: Interruption,
    preparation: Preparation,
    other_cores: float | None,
) -> None:
    backend = start.backend
    with Waiting("the report"):
        from mlx_tiny.report import report, texts
        from mlx_tiny.tools.processes import again
        from mlx_tiny.tools.tables import block
        from mlx_tiny.training.counted import COUNTING

        mixed = outcome.fitted and outcome.fitted.mixed
        sample = functools.partial(
            backend.sample, outcome.state, corpus.tokenizer, max_tokens=_FINAL_SAMPLE_TOKENS, mixed=mixed
        )
        count = 1 if outcome.interrupted else _FINAL_SAMPLES
        samples = [interruption.surely(functools.partial(sample, seed=seed)) for seed in range(count)]
        session = report.Session(
            backend.description,
            backend.implementations,
            start.peak_flops_per_s,
            backend.peak_memory_bytes(),
            preparation.seconds,
            samples,
            start.state,
            other_cores,
            start.expected_memory_bytes,
            preparation.counted,
        )
        old: list[TextStrength] = []
        with interruption.cut():
            old = _old_texts(run, corpus, backend, outcome)
        outcome = dataclasses.replace(outcome, interrupted=interruption.name)
        built = report.build(run, corpus, outcome, session, old)
        report.write_report(run, built)
    show(f"\nA text that the trained model has written:\n\n{samples[0].strip()}\n")
    if built.interrupted:
        show(f"Everything is saved. To continue: {again('train', '--resume', str(run.path))}\n")
    for line in texts.table_of_texts(built):
        say(line)
    if report.beaten(built):
        say(
            f"The model alone is weaker so far than {COUNTING}: {built.bits_per_byte:.4f} against "
            f"{built.counting_bits_per_byte:.4f} bits per byte. A larger budget trains it further."
        )
    if mixture := report.with_counting(built):
        say(f"Model and counting together reach {mixture}: that is what the run gives, and --plain is the model alone.")
    show(block(report.summary(built, run.path)))


def _old_texts(run: RunFolder, corpus: Corpus, backend: Backend, outcome: Outcome) -> list[TextStrength]:
    """How good the model is now on the texts of the run that it started from, if it did and they are in the cache."""
    from mlx_tiny.data.shortened import shortened
    from mlx_tiny.report.record import TextStrength
    from mlx_tiny.training.backend import evaluate_text
    from mlx_tiny.training.evaluate import fingerprint
    from mlx_tiny.training.extent import measured_bytes
    from mlx_tiny.training.learned import count_learned_validation
    from mlx_tiny.training.origin import old_text_of

    origin = run.origin
    if origin is None or outcome.interrupted or (old := old_text_of(origin)) is None:
        return []
    found = []
    for text in [part.corpus for part in shortened(old, measured_bytes(run.config)).parts]:
        mark = fingerprint(text.valid_text_hash)
        after = evaluate_text(backend, outcome.state, text, None).bits_per_byte
        strength = after, origin.before.get(mark), text.floor_bits_per_byte
        documents = text.valid_file.documents, count_learned_validation(text, [corpus])
        sources = text.record.settings.sources
        found.append(TextStrength(text.description, None, 0.0, *strength, mark, *documents, sources))
    return found
