"""What a session on the command line does when its training has ended: samples, the report, and what is told of it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlx_tiny.cli.output import say, show
from mlx_tiny.tools.laps import COMMAND
from mlx_tiny.tools.waiting import Waiting

if TYPE_CHECKING:
    from mlx_tiny.data.mixture import Corpus
    from mlx_tiny.machine.state import State
    from mlx_tiny.report.record import TextStrength
    from mlx_tiny.tools.signals import Interruption
    from mlx_tiny.training.backend import Backend
    from mlx_tiny.training.checkpoint import RunFolder
    from mlx_tiny.training.counted import Counted
    from mlx_tiny.training.outcome import Outcome

Floors = list["Counted | None"]
"""The strength of counting alone on each text, where the run itself does not count."""
_FINAL_SAMPLES, _FINAL_SAMPLE_TOKENS = 3, 200


@dataclass(frozen=True)
class Start:
    """What is known before the first step of a session."""

    backend: Backend
    peak_flops_per_s: float
    state: State
    expected_memory_bytes: int
    header: list[str]


def report(
    run: RunFolder,
    corpus: Corpus,
    start: Start,
    outcome: Outcome,
    interruption: Interruption,
    floors: Floors,
    other_cores: float | None,
) -> None:
    """Write the report of a session, and show what it comes to.

    Args:
        floors: see `Floors`.
        other_cores: that other programs used while the session trained.
    """
    backend = start.backend
    with Waiting("the report"):
        from mlx_tiny.cli.repeat import command_to_repeat
        from mlx_tiny.report import report, texts
        from mlx_tiny.report.picture import draw
        from mlx_tiny.tools.processes import again
        from mlx_tiny.tools.tables import block
        from mlx_tiny.training.counted import COUNTING

        mixed = outcome.fitted and outcome.fitted.mixed
        sample = functools.partial(
            backend.sample, outcome.state, corpus.tokenizer, max_tokens=_FINAL_SAMPLE_TOKENS, mixed=mixed
        )
        count = 1 if outcome.interrupted else _FINAL_SAMPLES
        samples = [interruption.surely(functools.partial(sample, seed=seed)) for seed in range(count)]
        outcome = outcome.with_phases({"samples of the report": COMMAND.end("samples of the report")})
        old: list[TextStrength] = []
        with interruption.cut():
            old = _old_texts(run, corpus, backend, outcome)
        session = report.Session(
            date=datetime.datetime.fromtimestamp(COMMAND.started_at, datetime.timezone.utc).isoformat(
                timespec="seconds"
            ),
            command=command_to_repeat(run),
            backend=backend.description,
            implementations=backend.implementations,
            peak_flops_per_s=start.peak_flops_per_s,
            peak_memory_bytes=backend.peak_memory_bytes(),
            samples=samples,
            state_at_start=start.state,
            other_cores=other_cores,
            expected_memory_bytes=start.expected_memory_bytes,
            floors=floors,
        )
        outcome = dataclasses.replace(outcome, interrupted=interruption.name)
        built = report.build(run, corpus, outcome, session, old)
        draw(run, built)
        phases = outcome.with_phases({"the report": COMMAND.end("the report")}).phases
        built = dataclasses.replace(built, phases_s=phases, wall_s=COMMAND.elapsed_s)
        report.write_report(run, built)
    show(f"\nA text that the trained model has written:\n\n{samples[0].strip()}\n")
    if built.interrupted:
        show(f"Everything is saved. To continue: {again('train', '--resume', str(run.path))}\n")
    for line in texts.table_of_texts(built):
        say(line)
    if report.beaten(built):
        advice = " A larger budget trains it further." if built.weights_from != "best" else ""
        say(
            f"The model alone is weaker than {COUNTING}: {built.bits_per_byte:.4f} against "
            f"{built.counting_bits_per_byte:.4f} bits per byte.{advice}"
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
