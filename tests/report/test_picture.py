"""The picture of a run: training and validation in one unit on one axis, and what the end is compared with."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_tiny.records import EvaluationRecord, StepRecord
from mlx_tiny.report import picture
from mlx_tiny.report.report import read_report
from mlx_tiny.tools import plots
from mlx_tiny.training.checkpoint import RunFolder

from .planted_runs import planted_run

STEPS, BYTES_PER_TOKEN = 100, 4.0
NATS = 8.0 * np.exp(-np.arange(STEPS) / 20) + 2.0
FINAL = 0.9


class StandIn:
    """Replaces axes, and records what is drawn."""

    def __init__(self) -> None:
        self.lines: dict[str, tuple[Any, Any]] = {}
        self.heights: dict[str, float] = {}
        self.settings: dict[str, Any] = {}

    def plot(self, x: Any, y: Any, *_: Any, label: str, **__: Any) -> None:
        self.lines[label] = x, y

    def axhline(self, height: float, *, label: str, **_: Any) -> None:
        self.heights[label.partition(",")[0]] = height

    @property
    def xaxis(self) -> StandIn:
        return self

    def set(self, **settings: Any) -> None:
        self.settings |= settings

    def set_title(self, title: str, **_: Any) -> None:
        self.settings["title"] = title

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    """The axes of each picture; works without matplotlib."""
    found: list[StandIn] = []

    @contextlib.contextmanager
    def made(path: Path, **_: Any) -> Iterator[tuple[Any, StandIn]]:
        path.touch()
        found.append(StandIn())
        yield None, found[-1]

    monkeypatch.setattr(plots, "installed", lambda: True)
    monkeypatch.setattr(plots, "picture", made)
    return found


def run_with(path: Path, **report: Any) -> RunFolder:
    """A run of some steps and one evaluation, whose tokens have 4 bytes each."""
    strength = {"perplexity_per_token": math.exp(FINAL * math.log(2) * BYTES_PER_TOKEN), "steps": STEPS}
    run = planted_run(path, FINAL, report={**strength, **report})
    for step, loss in enumerate(NATS.tolist(), 1):
        run.metrics.append(StepRecord(step, loss, 200 * step, 1e7 * step, 0.1 * step, step / STEPS, 1.0, 2000.0))
    run.metrics.append(EvaluationRecord(50, 10_000, 5.0, 0.5, 1.1))
    return run


def test_training_and_validation_are_in_bits_per_byte_up_to_the_final_strength(
    tmp_path: Path, drawn: list[StandIn]
) -> None:
    run = run_with(tmp_path / "run")
    picture.draw(run, read_report(run))
    lines, settings = drawn[0].lines, drawn[0].settings
    tokens, bits = lines["training, each step"]
    assert tokens.tolist() == [200 * step for step in range(1, STEPS + 1)]
    assert bits == pytest.approx(NATS / math.log(2) / BYTES_PER_TOKEN)
    assert len(lines["training, smoothed"][1]) < STEPS
    assert [values.tolist() for values in lines["validation"]] == [[10_000, 20_000], [1.1, FINAL]]
    assert settings["ylabel"] == "bits per byte" and settings["ylim"][0] == 0 and settings["ylim"][1] > bits[5]
    assert "strongest-tiny" in settings["title"] and "context 256" in settings["title"]
    assert "seed 0" in settings["title"] and drawn[0].heights == {}


def test_a_run_to_which_all_was_certain_has_the_bytes_that_were_read(tmp_path: Path, drawn: list[StandIn]) -> None:
    run = run_with(tmp_path / "run", bits_per_byte=0.0, evaluated_tokens=1000, evaluated_bytes=2000)
    picture.draw(run, read_report(run))
    assert drawn[0].lines["training, each step"][1] == pytest.approx(NATS / math.log(2) / 2)


def test_floor_and_counting_are_lines_beside_it(tmp_path: Path, drawn: list[StandIn]) -> None:
    strengths = {"counting_bits_per_byte": 0.7, "with_counting_bits_per_byte": 0.6}
    run = run_with(tmp_path / "run", entropy_floor_bits_per_byte=0.3, **strengths)
    picture.draw(run, read_report(run))
    assert drawn[0].heights == {"counting alone": 0.7, "entropy of the text": 0.3}
    assert drawn[0].lines["model and counting, 0.600"] == ([20_000], [0.6])


def test_no_picture_is_left_of_another_session(
    tmp_path: Path, drawn: list[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, empty = run_with(tmp_path / "run"), planted_run(tmp_path / "empty")
    (empty.path / picture.NAME).touch()
    picture.draw(empty, read_report(empty))
    picture.draw(run, read_report(run))
    assert not (empty.path / picture.NAME).exists() and (run.path / picture.NAME).exists() and len(drawn) == 1
    monkeypatch.setattr(plots, "installed", lambda: False)
    picture.draw(run, read_report(run))
    assert not (run.path / picture.NAME).exists()


@pytest.mark.skipif(not plots.installed(), reason="matplotlib is not installed")
def test_it_is_drawn_whatever_the_text_is_called(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", data="own text: $x_1$ \\frac{.txt", counting_bits_per_byte=0.7)
    run.path.joinpath(picture.NAME).unlink(missing_ok=True)
    picture.draw(run, read_report(run))
    assert run.path.joinpath(picture.NAME).read_bytes().startswith(b"\x89PNG")
