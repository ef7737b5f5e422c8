"""Lists the runs of a folder: what each is, how strong, and in which state; a damaged run is one of them."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_tiny.data.labels import label
from mlx_tiny.errors import TinyError
from mlx_tiny.files import explained
from mlx_tiny.records import EvaluationRecord, Record, StepRecord
from mlx_tiny.report.comparing import short_names
from mlx_tiny.report.record import Report
from mlx_tiny.report.report import describes, has_report, read_report, report_path
from mlx_tiny.tools.locks import is_locked
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.described import is_for_other_programs

WHOLE, GOING_ON, INTERRUPTED, NOT_BEGUN, DAMAGED = "whole", "going on", "interrupted", "not begun", "damaged"


@dataclass(frozen=True)
class ListedRun:
    """A run in a list; None is not known."""

    name: str
    path: str
    state: str
    """`whole`, `going on` (a process trains it), `interrupted`, `not begun` (before its first step), or `damaged`."""
    note: str | None = None
    """Why it is damaged, or how far it is where it has no result yet."""
    date: str | None = None
    """When the session of its result began, or, without one, the run: local time in the form of ISO 8601."""
    bits_per_byte: float | None = None
    """Of the model alone, in the report; the other results are of the same state."""
    with_counting_bits_per_byte: float | None = None
    fingerprint: str | None = None
    """Of the text that was measured; results are comparable where it is equal."""
    evaluated_whole_file: bool | None = None
    evaluated_bytes: int | None = None
    """Of the text that was measured; None in older reports too."""
    budget: str | None = None
    preset: str | None = None
    seed: int | None = None
    parameters: int | None = None
    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    data: str | None = None


@dataclass(frozen=True)
class RunList(Record):
    """The runs of some folders."""

    kind = "runs"
    version = 1

    runs: list[ListedRun]


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """The runs that these folders are, or contain.

    Raises:
        TinyError: a folder is missing or cannot be read.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise TinyError(f"There is no folder {folder}", remedy="Name the folder that contains runs, or a run")
        with explained(folder):
            inside = sorted(folder.iterdir())
        for path in [folder] if is_run(folder) else filter(is_run, inside):
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


def is_run(path: Path) -> bool:
    """Whether a folder is a run, perhaps a damaged one, and not for example a model for another program."""
    if path.name.startswith(".") or not os.path.lexists(path / "config.json"):
        return False
    try:
        return not is_for_other_programs(path)
    except TinyError:
        return True


def list_runs(paths: Sequence[Path]) -> list[ListedRun]:
    """What is known of each run."""
    return [_listed(name, path) for name, path in zip(short_names(paths), paths, strict=True)]


def _listed(name: str, path: Path) -> ListedRun:
    try:
        run = RunFolder(path)
        report = read_report(run) if has_report(path) else None
        if report is None:
            return _without_result(name, run)
        state, note = _state(run, report)
    except TinyError as error:
        return ListedRun(name, str(path), DAMAGED, str(error))
    return ListedRun(
        name,
        str(path),
        state,
        note,
        _date(report_path(path), report.date),
        report.bits_per_byte,
        report.with_counting_bits_per_byte,
        report.evaluation_fingerprint,
        report.evaluated_whole_file,
        report.evaluated_bytes,
        report.budget,
        report.config.train.preset,
        report.config.train.seed,
        report.parameters,
        report.steps,
        report.tokens,
        report.seconds,
        label(report.config.data.sources),
    )


def _state(run: RunFolder, report: Report) -> tuple[str, str | None]:
    """The state of a run that has a report.

    Raises:
        TinyError: its weights are missing or damaged.
    """
    if is_locked(run.path):
        return GOING_ON, None
    if report.continued or report.interrupted:
        return INTERRUPTED, None
    if report.weights_checksum is not None and not describes(report, run):
        return DAMAGED, "Its report is not that of its weights"
    return WHOLE, None


def _without_result(name: str, run: RunFolder) -> ListedRun:
    config, latest = run.config, deque[StepRecord](maxlen=1)
    bits = None
    for record in run.metrics.read():
        if isinstance(record, StepRecord):
            latest.append(record)
        elif isinstance(record, EvaluationRecord):
            bits = record.validation_bits_per_byte
    state = GOING_ON if is_locked(run.path) else INTERRUPTED if latest else NOT_BEGUN
    return ListedRun(
        name,
        str(run.path),
        state,
        ", ".join(_progress(latest, bits)) or None,
        _date(run.path / "config.json"),
        budget=config.train.budget,
        preset=config.train.preset,
        seed=config.train.seed,
        steps=latest[0].step if latest else 0,
        tokens=latest[0].tokens if latest else 0,
        seconds=latest[0].seconds if latest else 0.0,
        data=label(config.data.sources),
    )


def _progress(latest: Sequence[StepRecord], bits: float | None) -> Iterator[str]:
    for record in latest:
        yield f"step {record.step:,}"
        yield f"{record.fraction:.0%} of the budget"
    if bits is not None:
        yield f"{bits:.4f} bits per byte on the beginning of the text"


def _date(path: Path, told: str | None = None) -> str:
    """What the report says, or else when the file was written."""
    with explained(path):
        moment = datetime.datetime.fromtimestamp(path.stat().st_mtime)
    with contextlib.suppress(ValueError):
        moment = datetime.datetime.fromisoformat(told) if told else moment
    return moment.astimezone().isoformat(timespec="seconds")
