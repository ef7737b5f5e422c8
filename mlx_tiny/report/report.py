"""Writes the report of a run: report.json, report.md, and a picture of the loss."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_tiny.data.labels import label, labels
from mlx_tiny.data.mixture import Corpus
from mlx_tiny.errors import TinyError, one_line, printable
from mlx_tiny.files import atomic_write
from mlx_tiny.machine.description import describe
from mlx_tiny.machine.load import is_busy
from mlx_tiny.machine.state import State
from mlx_tiny.model.parameters import (
    multiply_adds_per_token,
    parameter_count,
    parameters_by_group,
    training_flops_per_token,
)
from mlx_tiny.records import EvaluationRecord, StepRecord, read_sealed, to_plain, write_sealed
from mlx_tiny.report.record import Report, TextStrength
from mlx_tiny.study.plan import expectation_of
from mlx_tiny.tools import plots
from mlx_tiny.tools.tables import Column, Table, readable
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counted import counting_alone
from mlx_tiny.training.evaluate import fingerprint
from mlx_tiny.training.origin import doubts
from mlx_tiny.training.outcome import Outcome
from mlx_tiny.units import format_bytes, format_count, format_flops, format_seconds


@dataclass(frozen=True)
class Session:
    """What the command line knows about a session, and the folder of the run does not contain."""

    backend: str
    """Framework, version and device."""
    implementations: dict[str, str]
    """The implementation of each operation."""
    peak_flops_per_s: float
    peak_memory_bytes: int
    prepare_s: float
    samples: list[str]
    state_at_start: State
    other_cores: float | None
    """Cores that other programs used while the session trained."""
    expected_memory_bytes: int


def build(
    run: RunFolder, corpus: Corpus, outcome: Outcome, session: Session, old: Sequence[TextStrength] = ()
) -> Report:
    """The report of a run that has ended or was interrupted; the machine is described in its present state.

    Args:
        old: strength on the texts of the run that this one started from.
    """
    model, progress, evaluation = run.config.model, outcome.progress, outcome.evaluation
    machine = describe()
    training_s = outcome.phases.get("training", 0.0)
    achieved = progress.flops / training_s if training_s else 0.0
    shares, unique = [part.share for part in corpus.parts], sum(len(part.corpus.train) for part in corpus.parts)
    floor = _weighted(shares, [part.corpus.floor_bits_per_byte for part in corpus.parts])
    counted = [counting_alone(part.corpus) for part in corpus.parts]
    return Report(
        bits_per_byte=evaluation.bits_per_byte,
        bits_per_event=None if corpus.bytes_per_event is None else evaluation.bits_per_byte * corpus.bytes_per_event,
        entropy_floor_bits_per_byte=floor,
        excess_bits_per_byte=evaluation.bits_per_byte - floor
        if floor is not None and outcome.evaluated_whole
        else None,
        counting_bits_per_byte=_weighted(shares, [each.bits_per_byte if each else None for each in counted]),
        perplexity_per_token=evaluation.perplexity,
        evaluated_tokens=evaluation.tokens,
        evaluated_whole_file=outcome.evaluated_whole,
        evaluated_training_text=any(part.corpus.record.found.trained_on_validation for part in corpus.parts),
        evaluation_fingerprint=fingerprint(corpus.valid_text_hash),
        weights_from=outcome.weights_from,
        weights_checksum=run.weights_checksum(),
        weights_step=outcome.weights_step,
        restarts=progress.restarts,
        interrupted=outcome.interrupted is not None,
        interrupted_by=outcome.interrupted,
        data=corpus.description,
        budget=run.config.train.budget,
        steps=progress.step,
        tokens=progress.tokens,
        epochs=progress.tokens / unique,
        flops=progress.flops,
        seconds=progress.seconds,
        tokens_per_s=progress.tokens / progress.seconds if progress.seconds else 0.0,
        training_flops_per_s=achieved,
        peak_flops_per_s=session.peak_flops_per_s,
        utilisation=achieved / session.peak_flops_per_s if session.peak_flops_per_s else None,
        parameters=parameter_count(model),
        parameters_by_group=parameters_by_group(model),
        multiply_adds_per_token=multiply_adds_per_token(model),
        training_flops_per_token=training_flops_per_token(model),
        peak_memory_bytes=session.peak_memory_bytes,
        expected_memory_bytes=session.expected_memory_bytes,
        phases_s={"prepare data": session.prepare_s, **outcome.phases},
        backend=session.backend,
        implementations=session.implementations,
        machine=replace(machine, state=replace(machine.state, other_cores=session.other_cores)),
        state_at_start=session.state_at_start,
        samples=session.samples,
        config=run.config,
        origin=run.origin,
        texts=_texts(run, corpus, outcome, old),
        expected=None if outcome.interrupted or run.origin else expectation_of(run.config, progress.tokens, unique),
    )


def _texts(run: RunFolder, corpus: Corpus, outcome: Outcome, old: Sequence[TextStrength]) -> list[TextStrength]:
    if len(corpus.parts) == 1 and (run.origin is None or outcome.interrupted):
        return []
    before = {} if run.origin is None or outcome.interrupted else run.origin.before
    own = []
    for part, evaluation in zip(corpus.parts, outcome.parts, strict=True):
        mark = fingerprint(part.corpus.valid_text_hash)
        epochs = part.share * outcome.progress.tokens / len(part.corpus.train)
        strength = evaluation.bits_per_byte, before.get(mark), part.corpus.floor_bits_per_byte
        text = part.corpus
        own.append(
            TextStrength(text.description, part.share, epochs, *strength, mark, sources=text.record.settings.sources)
        )
    known = {text.fingerprint for text in own}
    return [*own, *(text for text in old if text.fingerprint not in known)]


def _weighted(shares: Sequence[float], values: Sequence[float | None]) -> float | None:
    """The mean of the values with these weights, or None where one is missing."""
    found = [share * value for share, value in zip(shares, values, strict=True) if value is not None]
    return sum(found) if found and len(found) == len(values) else None


def summary(report: Report, path: Path) -> dict[str, str]:
    """The lines `key: value` that end the output of the run at `path`."""
    lines = {
        "bits_per_byte": f"{report.bits_per_byte:.4f}",
        "expected": report.expected.describe() if report.expected else "",
        "bits_per_event": _number(report.bits_per_event, ".3f"),
        "entropy_floor": _number(report.entropy_floor_bits_per_byte, ".4f"),
        "excess": _number(report.excess_bits_per_byte, ".4f"),
        "counting_alone": _number(report.counting_bits_per_byte, ".4f"),
        "perplexity_per_token": f"{report.perplexity_per_token:.3f}",
        "parameters": format_count(report.parameters),
        "multiply_adds_per_token": format_count(report.multiply_adds_per_token),
        "tokens": format_count(report.tokens),
        "epochs": f"{report.epochs:.2f}",
        "flops": f"{report.flops:.3g}",
        "tokens_per_s": f"{report.tokens_per_s:.0f}",
        "utilisation": _number(report.utilisation, ".1%"),
        "other_programs_cores": _other_programs(report),
        "peak_memory": format_bytes(report.peak_memory_bytes),
        "expected_memory": _bytes(report.expected_memory_bytes),
        "seconds": f"{report.seconds:.1f}",
        "restarts": str(report.restarts or ""),
        "interrupted": _interruption(report),
        **_before_and_after(report),
        "weights": _earlier_weights(report),
        "run": str(path),
    }
    return {key: value for key, value in lines.items() if value}


def _earlier_weights(report: Report) -> str:
    """What to know where the weights are not those of the end of the run; else empty."""
    if report.weights_from != "best" or report.weights_step is None or not report.steps:
        return ""
    return (
        f"from {report.weights_step / report.steps:.0%} of the run, where validation was lowest; it rose afterwards: "
        f"take a smaller budget or more text"
    )


def _other_programs(report: Report) -> str:
    """The cores that other programs took while the run trained, where that disturbs its measurements; else empty."""
    cores = report.machine.state.other_cores
    return f"{cores:.1f}" if is_busy(cores) else ""


def _interruption(report: Report) -> str:
    return f"by {report.interrupted_by or 'a signal'}" if report.interrupted else ""


def _before_and_after(report: Report) -> dict[str, str]:
    own = [text for text in report.texts if text.share is not None]
    before = _weighted([text.share or 0.0 for text in own], [text.before for text in own])
    lines = {"bits_per_byte_before": _number(before, ".4f")}
    old = [text for text in report.texts if text.share is None]
    if len(old) == 1:
        lines["old_text_bits_per_byte"] = f"{old[0].bits_per_byte:.4f}"
        lines["old_text_bits_per_byte_before"] = _number(old[0].before, ".4f")
    return lines


def write_report(run: RunFolder, report: Report) -> None:
    """Write report.md, loss.png where matplotlib is installed, and then report.json, which says that all is written."""
    _write_page(run, report)
    if plots.installed():
        _plot(run, run.path / "loss.png")
    write_sealed(run.path / "report.json", report)


def mark_continued(run: RunFolder) -> None:
    """Say in the report of a run that goes on, if it has one, that it is not that of the newest state."""
    with contextlib.suppress(TinyError):  # what is damaged or missing is written again
        report = replace(read_report(run), continued=True)
        _write_page(run, report)
        write_sealed(run.path / "report.json", report)


def _write_page(run: RunFolder, report: Report) -> None:
    with atomic_write(run.path / "report.md", "w") as file:
        file.write(_markdown(report))


def read_report(run: RunFolder) -> Report:
    """The report in the folder of a run.

    Raises:
        TinyError: it is missing, damaged, or of another version.
    """
    return read_sealed(run.path / "report.json", Report, "report")


def describes(report: Report, run: RunFolder) -> bool:
    """Whether a report is that of the weights of a run; TinyError where these are missing or damaged."""
    return report.weights_checksum == run.weights_checksum()


def beaten(report: Report) -> bool:
    """Whether an n-gram of the same training text is stronger than the model."""
    return report.counting_bits_per_byte is not None and report.counting_bits_per_byte < report.bits_per_byte


def _bytes(count: int | None) -> str:
    return "" if count is None else format_bytes(count)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _markdown(report: Report) -> str:
    strength = {
        "bits per byte": f"{report.bits_per_byte:.4f}",
        "expected by the law": report.expected.describe() if report.expected else "",
        "bits per event": _number(report.bits_per_event, ".3f"),
        "entropy floor of the text": _number(report.entropy_floor_bits_per_byte, ".4f"),
        "excess over the floor": _number(report.excess_bits_per_byte, ".4f"),
        "counting alone": _number(report.counting_bits_per_byte, ".4f") + ", stronger than the model" * beaten(report),
        "perplexity per token": f"{report.perplexity_per_token:.3f}",
        "measured on": f"{report.evaluated_tokens:,} validation tokens"
        + ("" if report.evaluated_whole_file else " (the file's beginning)")
        + (" (training text: nothing was held out)" if report.evaluated_training_text else ""),
        "fingerprint": report.evaluation_fingerprint,
        "interrupted": _interruption(report),
        "weights": _earlier_weights(report),
    }
    cost = {
        "text": report.data,
        "budget": report.budget,
        "clock": format_seconds(report.seconds),
        "restarts after errors of the GPU": str(report.restarts or ""),
        "tokens": f"{report.tokens:,} ({report.epochs:.2f} epochs) in {report.steps:,} steps",
        "model FLOPs": f"{report.flops:.4g}",
        "tokens/s": f"{report.tokens_per_s:,.0f}",
        "model FLOPs utilisation": _number(report.utilisation, ".1%")
        + f" of {format_flops(report.peak_flops_per_s, '/s')} measured",
        "cores taken by other programs": _other_programs(report),
        "peak memory": format_bytes(report.peak_memory_bytes),
        "peak memory as estimated": _bytes(report.expected_memory_bytes),
    }
    size = {kind: f"{count:,}" for kind, count in report.parameters_by_group.items()}
    size |= {
        "all parameters": f"{report.parameters:,}",
        "multiply-adds per token, forward": f"{report.multiply_adds_per_token:,.0f}",
    }
    phases = {name: format_seconds(seconds) for name, seconds in report.phases_s.items()}
    machine = {**report.machine.lines(), "backend": report.backend}
    if report.state_at_start is not None:
        machine |= readable({"state at the start": to_plain(report.state_at_start)})
    parts = [f"# A language model from {one_line(_learned(report))}", ""]
    if report.continued:
        parts += [f"**The run has gone on since step {report.steps:,}, of which this report is.**", ""]
    for title, rows in (
        ("Strength", strength),
        *([("Texts", _rows_of_texts(report))] if report.texts or report.origin else []),
        ("Cost", cost),
        ("Size", size),
        ("Time in each phase", phases),
        ("Machine", machine),
    ):
        parts += [f"## {title}", "", "| | |", "| --- | --- |"]
        parts += ["| {} | {} |".format(*map(_cell, row)) for row in rows.items() if row[1]]
        parts.append("")
    parts += ["## Samples", ""]
    for text in report.samples:
        parts += ["> " + line for line in text.strip().split("\n")] + [""]
    return printable("\n".join(parts))


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")


def _rows_of_texts(report: Report) -> dict[str, str]:
    """A row per text: its bits per byte, its share, and the bits per byte of the weights that the run started from."""
    rows = {}
    if report.origin is not None:
        rows["started from"] = f"{report.origin.run}, step {report.origin.step}"
        rows["validation text"] = " ".join(doubts(report.origin))
    for name, text in zip(labels([text.sources for text in report.texts]), report.texts, strict=True):
        rows[f"bits per byte on {name}"] = _describe_strength(text)
    origin, measured = report.origin, {text.fingerprint for text in report.texts}
    if origin and not report.interrupted and not (origin.texts and measured.issuperset(origin.texts)):
        rows[f"bits per byte on {label(origin.sources)}"] = "not measured: the text is not in the cache"
    return rows


def table_of_texts(report: Report) -> Iterator[str]:
    """Strength on each of several texts, before and after, as a table in plain text; nothing of a single text."""
    if not report.texts:
        return
    trained_on = Column[tuple[str, TextStrength]](
        "trained on", lambda row: _trained_on(row[1]), "validation documents that are training text of this run"
    )
    table = Table[tuple[str, TextStrength]](
        lambda row: row[0],
        [
            Column("bits per byte", lambda row: f"{row[1].bits_per_byte:.4f}"),
            Column("before", lambda row: _number(row[1].before, ".4f")),
            Column("change", lambda row: _number(_change(row[1]), "+.4f"), "a rise is what is forgotten"),
            Column("share", lambda row: _number(row[1].share, ".3g"), "of the training sequences"),
            Column("epochs", lambda row: "" if row[1].share is None else f"{row[1].epochs:.2f}"),
            Column("floor", lambda row: _number(row[1].entropy_floor_bits_per_byte, ".4f"), "entropy of the text"),
            *([trained_on] if any(text.learned_documents for text in report.texts) else []),
        ],
    )
    yield from table.lines(list(zip(labels([text.sources for text in report.texts]), report.texts, strict=True)))
    yield from table.legend()


def _change(text: TextStrength) -> float | None:
    return None if text.before is None else text.bits_per_byte - text.before


def _learned(report: Report) -> str:
    """The names of the texts that the model was trained on."""
    learned = [text.sources for text in report.texts if text.share is not None]
    return " and ".join(labels(learned)) or label(report.config.data.sources)


def _describe_strength(text: TextStrength) -> str:
    """Strength on one text in a line, such as "1.2345 (before: 2.3456, -1.1111; 0.3 of the sequences)"."""
    notes = []
    if text.before is not None:
        notes.append(f"before: {text.before:.4f}, {text.bits_per_byte - text.before:+.4f}")
    if text.entropy_floor_bits_per_byte is not None:
        notes.append(f"entropy floor {text.entropy_floor_bits_per_byte:.4f}")
    if text.share is not None:
        notes.append(f"{text.share:.3g} of the sequences, {text.epochs:.2f} epochs")
    elif text.learned_documents:
        notes.append(f"trained on {_trained_on(text)} validation documents")
    else:
        notes.append("not trained on")
    return f"{text.bits_per_byte:.4f} ({'; '.join(notes)})"


def _trained_on(text: TextStrength) -> str:
    return f"{text.learned_documents:,} of the {text.documents:,}" if text.learned_documents else ""


def _plot(run: RunFolder, path: Path) -> None:
    records = run.metrics.read()
    steps = [record for record in records if isinstance(record, StepRecord)]
    checks = [record for record in records if isinstance(record, EvaluationRecord)]
    if not steps:
        return
    with plots.picture(path, figsize=(8, 4.5)) as (figure, axes):
        axes.plot([r.tokens for r in steps], [r.loss for r in steps], linewidth=0.8, label="training loss")
        axes.set(xlabel="tokens", ylabel="nats per token")
        if checks:
            right, bits = axes.twinx(), [r.validation_bits_per_byte for r in checks]
            right.plot([r.tokens for r in checks], bits, "o-", color="tab:orange", label="validation")
            right.set_ylabel("bits per byte")
        figure.legend(loc="upper right")
