"""The metrics of a run outlast crashes, and damaged lines are kept aside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.records import EvaluationRecord, FinalRecord, SampleRecord, StepRecord, to_json, to_plain
from mlx_tiny.training.metrics import MetricsFile


def step_record(step: int) -> StepRecord:
    return StepRecord(step, 1 / (step + 1), 128 * step, 1e6 * step, 0.1 * step, 0.01 * step, 1.0, 1000.0)


def changed(**values: Any) -> bytes:
    """A line of step 2 with other values."""
    return to_json({**to_plain(step_record(2)), **values}).encode() + b"\n"


@pytest.fixture
def metrics(tmp_path: Path) -> MetricsFile:
    return MetricsFile(tmp_path / "metrics.jsonl")


def test_metrics_forget_what_comes_after_a_step(metrics: MetricsFile) -> None:
    for step in range(1, 6):
        metrics.append(step_record(step))
    check = EvaluationRecord(5, 640, 0.5, 0.25, 2.0)
    sample = SampleRecord(5, 640, 0.5, 0.25, "Ann\n\x1b ran.")
    metrics.append(check)
    metrics.append(sample)
    metrics.append(FinalRecord(5, 640, 0.5, 2.0))
    metrics.rewind(5)
    assert metrics.read()[5:] == [check, sample]
    metrics.rewind(3)
    assert metrics.read() == [step_record(step) for step in (1, 2, 3)]
    metrics.rewind(-1)
    assert metrics.read() == []


@pytest.mark.parametrize("tail", ["", "\n", '{"st', '{"step": 4, "loss": 0.', '{"step": 4', "\0\0\0\0"])
def test_a_last_line_that_was_cut_is_left_out(metrics: MetricsFile, tail: str) -> None:
    lines, told = [step_record(step) for step in (1, 2, 3)], list[str]()
    metrics.path.write_text("".join(to_json(line) + "\n" for line in lines) + tail)
    assert metrics.read() == lines
    metrics.rewind(9, told.append)
    metrics.append(step_record(4))
    assert metrics.read() == [*lines, step_record(4)]
    assert not told and not metrics.damaged.exists()


DAMAGED = {
    "cut": b'{"kind": "st\n',
    "another kind": b'{"kind": "leap", "version": 1}\n',
    "of an older version": b'{"step": 2, "loss": 2.5}\n',
    "without a step": to_json({k: v for k, v in to_plain(step_record(2)).items() if k != "step"}).encode() + b"\n",
    "no UTF-8": b"\xff\xfe\x00\n",
    "of another type": changed(loss="x"),
    "negative": changed(tokens=-5),
    "infinite": changed().replace(b"1000.0", b"1e999"),
    "too large": changed(tokens=10**400),
    "nested": b"[" * 100_000 + b"]" * 100_000 + b"\n",
    "a list": b"[1, 2]\n",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_line_is_kept_aside_and_what_follows_is_kept(metrics: MetricsFile, name: str) -> None:
    before, after = (to_json(step_record(step)).encode() + b"\n" for step in (1, 3))
    for count in (1, 2):  # a second damage does not replace the first one
        told = list[str]()
        metrics.path.write_bytes(before + DAMAGED[name] + after)
        assert metrics.read() == [step_record(1), step_record(3)]
        metrics.rewind(9, told.append)
        assert metrics.path.read_bytes() == before + after
        assert metrics.damaged.read_bytes() == count * DAMAGED[name]
        assert len(told) == 1 and metrics.damaged.name in told[0]


def test_there_may_be_no_metrics_yet(metrics: MetricsFile) -> None:
    assert metrics.read() == []
    metrics.rewind(5)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink(path.with_name("mine"), path)])
def test_damaged_lines_are_written_to_a_file_of_the_run_alone(
    metrics: MetricsFile, make: Callable[[Path], None]
) -> None:
    mine = metrics.path.with_name("mine")
    mine.write_text("mine")
    make(metrics.damaged)
    metrics.path.write_bytes(DAMAGED["no UTF-8"])
    with pytest.raises(TinyError):
        metrics.rewind(5)
    assert mine.read_text() == "mine" and metrics.path.read_bytes() == DAMAGED["no UTF-8"]


def test_a_pipe_is_not_waited_for(metrics: MetricsFile) -> None:
    os.mkfifo(metrics.path)
    with pytest.raises(TinyError, match="not an ordinary file"):
        metrics.rewind(5)
