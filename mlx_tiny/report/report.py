"""Writes the report of a run: report.json, report.md, and a picture of the loss."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlx_tiny.config.differences import in_words, unlike_preset
from mlx_tiny.data.mixture import Corpus
from mlx_tiny.errors import TinyError, one_line, printable
from mlx_tiny.files import atomic_write, hash_text
from mlx_tiny.machine.description import describe
from mlx_tiny.machine.load import is_busy
from mlx_tiny.machine.state import State
from mlx_tiny.model.parameters import (
    multiply_adds_per_token,
    parameter_count,
    parameters_by_group,
    training_flops_per_token,
)
from mlx_tiny.records import read_sealed, to_plain, write_sealed
from mlx_tiny.report.noise import interval_of, intervals
from mlx_tiny.report.picture import NAME as PICTURE
from mlx_tiny.report.record import Report, TextStrength
from mlx_tiny.report.texts import learned_texts, number, rows_of_texts, texts_of, weighted
from mlx_tiny.study.plan import expectation_of
from mlx_tiny.tools.tables import markdown, readable
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counted import Counted
from mlx_tiny.training.counts import split
from mlx_tiny.training.evaluate import fingerprint
from mlx_tiny.training.outcome import Outcome
from mlx_tiny.units import format_bytes, format_count, format_flops, format_seconds


@dataclass(frozen=True)
class Session:
    """What the command line knows about a session, and the folder of the run does not contain."""

    date: str
    """When it began, as ISO 8601 has it."""
    command: str
    """See `Report.command`."""
    backend: str
    """Framework, version and device."""
    implementations: dict[str, str]
    """The implementation of each operation."""
    peak_flops_per_s: float
    peak_memory_bytes: int
    samples: list[str]
    state_at_start: State
    other_cores: float | None
    """Cores that other programs used while the session trained."""
    expected_memory_bytes: int
    floors: Sequence[Counted | None]
    """The strength of counting alone on each text, where the run itself does not count."""


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
    shares = [part.share for part in corpus.parts]
    floor = weighted(shares, [part.corpus.floor_bits_per_byte for part in corpus.parts])
    fitted, unique = outcome.fitted, sum(len(split(part, run.config).learned) for part in corpus.parts)
    return Report(
        bits_per_byte=evaluation.bits_per_byte,
        bits_per_event=None if corpus.bytes_per_event is None else evaluation.bits_per_byte * corpus.bytes_per_event,
        entropy_floor_bits_per_byte=floor,
        excess_bits_per_byte=evaluation.bits_per_byte - floor
        if floor is not None and outcome.evaluated_whole
        else None,
        counting_bits_per_byte=_counting_alone(shares, outcome, session.floors),
        with_counting_bits_per_byte=evaluation.with_counting_bits_per_byte,
        counting_share=fitted and fitted.share,
        gate_tokens=fitted and fitted.kept_tokens,
        perplexity_per_token=evaluation.perplexity,
        evaluated_tokens=evaluation.tokens,
        evaluated_whole_file=outcome.evaluated_whole and not any(part.corpus.is_shortened for part in corpus.parts),
        evaluated_bytes=round(sum(part.bytes for part in outcome.parts)),
        evaluated_training_text=any(part.corpus.record.found.trained_on_validation for part in corpus.parts),
        evaluation_fingerprint=_fingerprint(corpus, outcome),
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
        phases_s=outcome.phases,
        date=session.date,
        command=session.command,
        earlier=list(run.earlier),
        training_text=hash_text(*(part.corpus.record.train.text_hash for part in corpus.parts))[:12],
        backend=session.backend,
        implementations=session.implementations,
        machine=replace(machine, state=replace(machine.state, other_cores=session.other_cores)),
        state_at_start=session.state_at_start,
        samples=session.samples,
        config=run.config,
        origin=run.origin,
        texts=texts_of(run, corpus, outcome, old),
        expected=None if outcome.interrupted or run.origin else expectation_of(run.config, progress.tokens, unique),
        **intervals(corpus, outcome),
    )


def _counting_alone(shares: Sequence[float], outcome: Outcome, floors: Sequence[Counted | None]) -> float | None:
    """That of what the run itself has counted, on the text that it was measured on, or of `floors`."""
    if outcome.evaluation.counting_bits_per_byte is not None or not floors:
        return outcome.evaluation.counting_bits_per_byte
    return weighted(shares, [each.bits_per_byte if each else None for each in floors])


def _fingerprint(corpus: Corpus, outcome: Outcome) -> str:
    """That of the text which was read: after an interruption, of so many tokens of it in this vocabulary."""
    if outcome.evaluated_whole:
        return fingerprint(corpus.valid_text_hash)
    read = (each.tokens for each in outcome.parts)
    return fingerprint(hash_text(corpus.valid_text_hash, corpus.tokenizer.hash, *read))


def summary(report: Report, path: Path) -> dict[str, str]:
    """The lines `key: value` that end the output of the run at `path`."""
    lines = {
        "bits_per_byte": f"{report.bits_per_byte:.4f}",
        "expected": report.expected.describe() if report.expected else "",
        "bits_per_event": number(report.bits_per_event, ".3f"),
        "entropy_floor": number(report.entropy_floor_bits_per_byte, ".4f"),
        "excess": number(report.excess_bits_per_byte, ".4f"),
        "counting_alone": number(report.counting_bits_per_byte, ".4f"),
        "with_counting": number(report.with_counting_bits_per_byte, ".4f"),
        "counting_share": number(report.counting_share, ".3f"),
        "perplexity_per_token": f"{report.perplexity_per_token:.3f}",
        "parameters": format_count(report.parameters),
        "multiply_adds_per_token": format_count(report.multiply_adds_per_token),
        "tokens": format_count(report.tokens),
        "epochs": f"{report.epochs:.2f}",
        "flops": f"{report.flops:.3g}",
        "tokens_per_s": f"{report.tokens_per_s:.0f}",
        "utilisation": number(report.utilisation, ".1%"),
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
    before = weighted([text.share or 0.0 for text in own], [text.before for text in own])
    lines = {"bits_per_byte_before": number(before, ".4f")}
    old = [text for text in report.texts if text.share is None]
    if len(old) == 1:
        lines["old_text_bits_per_byte"] = f"{old[0].bits_per_byte:.4f}"
        lines["old_text_bits_per_byte_before"] = number(old[0].before, ".4f")
    return lines


def write_report(run: RunFolder, report: Report) -> None:
    """Write report.md, with the picture in the folder, and then report.json, which says that all is written."""
    _write_page(run, report)
    write_sealed(report_path(run.path), report)


def mark_continued(run: RunFolder) -> None:
    """Say in the report of a run that goes on, if it has one, that it is not that of the newest state."""
    with contextlib.suppress(TinyError):  # what is damaged or missing is written again
        report = replace(read_report(run), continued=True)
        _write_page(run, report)
        write_sealed(report_path(run.path), report)


def _write_page(run: RunFolder, report: Report) -> None:
    with atomic_write(run.path / "report.md", "w") as file:
        file.write(as_text(report, picture=(run.path / PICTURE).exists()))


def report_path(run: Path) -> Path:
    """Where the report of the run in this folder is."""
    return run / "report.json"


def has_report(run: Path) -> bool:
    """Whether there is a report in a folder, perhaps a damaged one."""
    return os.path.exists(report_path(run))  # unlike that of a path, of no error in a loop of links


def read_report(run: RunFolder) -> Report:
    """The report in the folder of a run.

    Raises:
        TinyError: it is missing, damaged, or of another version.
    """
    return read_sealed(report_path(run.path), Report, "report")


def describes(report: Report, run: RunFolder) -> bool:
    """Whether a report is that of the weights of a run; TinyError where these are missing or damaged."""
    return report.weights_checksum == run.weights_checksum()


def beaten(report: Report) -> bool:
    """Whether an n-gram of the same training text is stronger than the model."""
    return report.counting_bits_per_byte is not None and report.counting_bits_per_byte < report.bits_per_byte


def with_counting(report: Report) -> str:
    """Strength of the mixture with counting, and how much of it that is; empty where the run has none."""
    if report.with_counting_bits_per_byte is None or report.counting_share is None:
        return ""
    share = report.counting_share
    part = "as much of each" if share == 0.5 else "mostly counting" if share > 0.5 else "mostly the model"
    learned = f"learned on {report.gate_tokens:,} tokens" if report.gate_tokens else "too little text to learn it"
    return f"{report.with_counting_bits_per_byte:.4f} ({part}: mean weight {share:.2f}, {learned})"


def _bytes(count: int | None) -> str:
    return "" if count is None else format_bytes(count)


def tables_of(report: Report) -> dict[str, dict[str, str]]:
    """What a report says, by the titles of its tables and of their rows; a row without a value is empty."""
    strength = {
        "bits per byte": f"{report.bits_per_byte:.4f}",
        "expected by the law": report.expected.describe() if report.expected else "",
        "bits per event": number(report.bits_per_event, ".3f"),
        "entropy floor of the text": number(report.entropy_floor_bits_per_byte, ".4f"),
        "excess over the floor": number(report.excess_bits_per_byte, ".4f"),
        "counting alone": number(report.counting_bits_per_byte, ".4f") + ", stronger than the model" * beaten(report),
        "with counting": with_counting(report),
        "interval of 95 %": interval_of(report),
        "perplexity per token": f"{report.perplexity_per_token:.3f}",
        "measured on": f"{report.evaluated_tokens:,} validation tokens"
        + (f" ({format_bytes(report.evaluated_bytes)})" if report.evaluated_bytes else "")
        + ("" if report.evaluated_whole_file else " (the file's beginning)")
        + (" (training text: nothing was held out)" if report.evaluated_training_text else ""),
        "fingerprint": report.evaluation_fingerprint,
        "interrupted": _interruption(report),
        "weights": _earlier_weights(report),
    }
    cost = {
        "budget": report.budget,
        "clock": format_seconds(report.seconds),
        "restarts after errors of the GPU": str(report.restarts or ""),
        "tokens": f"{report.tokens:,} ({report.epochs:.2f} epochs) in {report.steps:,} steps",
        "model FLOPs": f"{report.flops:.4g}",
        "tokens/s": f"{report.tokens_per_s:,.0f}",
        "model FLOPs utilisation": number(report.utilisation, ".1%")
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
    whole_s = sum(report.phases_s.values())
    phases = {name: f"{format_seconds(seconds)} ({seconds / whole_s:.0%})" for name, seconds in report.phases_s.items()}
    phases["in all"] = format_seconds(whole_s)
    if report.wall_s is not None and whole_s - report.wall_s > 0.005 * whole_s:
        phases["in the last session"] = format_seconds(report.wall_s)
    machine = {**report.machine.lines(), "backend": report.backend}
    if report.state_at_start is not None:
        machine |= readable({"state at the start": to_plain(report.state_at_start)})
    return {
        "Strength": strength,
        **({"Texts": rows_of_texts(report)} if report.texts or report.origin else {}),
        "Origin": _origin(report),
        "Cost": cost,
        "Size": size,
        "Time in each phase": phases,
        "Machine": machine,
    }


def _origin(report: Report) -> dict[str, str]:
    """From what the run came about."""
    config = report.config
    unlike = [
        f"{found.name} {in_words(found.values[1])} (not {in_words(found.values[0])})"
        for found in unlike_preset(config)
        if found.name != "sources"
    ]
    return {
        "date": report.date or "",
        "commit of mlx_tiny": report.machine.commit or "",
        "preset": config.train.preset,
        "unlike the preset": ", ".join(unlike),
        "seed": str(config.train.seed),
        "text": report.data,
        "hash of the training text": report.training_text or "",
        "earlier settings": f"{', '.join(report.earlier)}: no single command repeats it" if report.earlier else "",
        "command to repeat it": report.command or "",
    }


def as_text(report: Report, *, picture: bool = False) -> str:
    """The report as Markdown.

    Args:
        picture: whether the curve is beside it.
    """
    parts = [f"# A language model from {one_line(learned_texts(report))}", ""]
    if report.continued:
        parts += [f"**The run has gone on since step {report.steps:,}, of which this report is.**", ""]
    for title, rows in tables_of(report).items():
        parts += [f"## {title}", "", *markdown({name: text for name, text in rows.items() if text}), ""]
        if picture and title == "Strength":
            parts += [f"![Bits per byte over the tokens that were read]({PICTURE})", ""]
    parts += ["## Samples", ""]
    for text in report.samples:
        parts += ["> " + line for line in text.strip().split("\n")] + [""]
    return printable("\n".join(parts))
