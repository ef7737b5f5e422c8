"""`mlx-tiny train --backend torch` from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli.cases import USER, Case, assert_explained
from cli.command_line import FEW_PAUSES, STEP_TOKENS, TINY, call, read_report, succeeded, workplace, write_notes

pytestmark = pytest.mark.torch
NOTES = ("train", "--data", "notes.txt", *TINY, *FEW_PAUSES, "--run", "r")


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> Iterator[Path]:
    with workplace(tmp_path):
        write_notes(tmp_path / "notes.txt")
        yield tmp_path


def test_a_run_by_torch_is_a_run(place: Path) -> None:
    finished = succeeded(call(*NOTES, "--backend", "torch", "--budget", "3000tok"))
    report = read_report(place / "r")
    backend = report["backend"]
    assert backend.startswith(f"torch {torch.__version__} on ") and backend.endswith("fused attention")
    assert (
        f"GFLOP/s in matrix products, {backend.partition(';')[0]}; " in finished.err and "backend torch" in finished.err
    )
    assert f"| backend | {backend} |" in (place / "r/report.md").read_text()
    assert report["config"]["train"]["backend"] == "torch"
    assert abs(report["tokens"] - 3000) <= STEP_TOKENS / 2
    assert 1 < report["perplexity_per_token"] < 512 and 0 < report["utilisation"] < 1
    assert len(report["samples"]) == 3 and float(finished.results()["bits_per_byte"]) > 0
    # What it leaves serves the other commands, which run MLX.
    succeeded(call("generate", "r", "--max-tokens", "5"))
    measured = json.loads(succeeded(call("eval", "r", "notes.txt", "--json")).out)
    assert 0 < measured["bits_per_byte"] < 8


def test_the_report_of_mlx_names_it_too(place: Path) -> None:
    succeeded(call(*NOTES, "--budget", "300tok"))
    assert read_report(place / "r")["backend"].startswith("mlx ")


@pytest.mark.parametrize(("first", "second"), [("mlx", "torch"), ("torch", "mlx")])
def test_a_run_goes_on_with_the_other_backend(place: Path, first: str, second: str) -> None:
    succeeded(call(*NOTES, "--backend", first, "--implementation", "plain", "--budget", "3000tok"))
    before = read_report(place / "r")
    finished = succeeded(call("train", "--resume", "r", "--backend", second, "--budget", "6000tok"))
    report = read_report(place / "r")
    assert f"resumed at step {before['steps']}, after {before['tokens']:,} tokens" in finished.err
    assert report["backend"].startswith(second) and before["backend"].startswith(first)
    assert abs(report["tokens"] - 6000) <= STEP_TOKENS / 2
    assert report["bits_per_byte"] < before["bits_per_byte"]
    assert json.loads((place / "r/config.json").read_text())["config"] == report["config"]
    assert report["config"]["train"]["implementation"] == "auto"
    succeeded(call("train", "--resume", "r", "--budget", "6300tok"))
    assert read_report(place / "r")["backend"].startswith(second)


def test_a_fitting_size_is_chosen_by_what_torch_reaches(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_tiny.study.speed._MEASURED_SECONDS", 0.05)
    monkeypatch.setattr("mlx_tiny.training.backend.TrainingStep", lambda *_, **__: pytest.fail("MLX was measured"))
    sizes = ("--vocabulary-size", "512", "--context", "32", "--batch-size", "4", "--width", "32")
    notes = ("train", "--data", "notes.txt", *sizes, *FEW_PAUSES, "--run", "r")
    finished = succeeded(call(*notes, "--backend", "torch", "--budget", "0.2s"))
    assert "at a measured" in finished.err


@pytest.mark.parametrize("asked", ["metal", "cpu", "muon=metal", "attention=torch"])
def test_implementations_of_mlx_are_refused(asked: str, place: Path) -> None:
    words = (f"The backend torch has no implementation {asked!r}", "auto, plain")
    case = Case((*NOTES, "--backend", "torch", "--implementation", asked), words, USER)
    assert_explained(call(*case.arguments), case)
    assert not (place / "r").exists()
