"""A resumed run: a new budget is part of it, and what it has reached is neither lost nor repeated."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.report import report
from mlx_tiny.tools.signals import Interruption
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.trainer import Trainer

from .command_line import (
    FEW_PAUSES,
    STEP_TOKENS,
    TINY,
    call,
    crash,
    files_below,
    read_metrics,
    read_report,
    succeeded,
    write_notes,
)

BUDGET = 9000
TRAIN = ("train", "--data", "notes.txt", *TINY, *FEW_PAUSES)


@pytest.fixture
def run(trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished run, with its prepared data."""
    monkeypatch.setenv("MLX_TINY_HOME", str(trained.parent / "home"))
    return Path(shutil.copytree(trained, place / "copied"))


def multipliers(run: Path) -> list[float]:
    return [record["multiplier"] for record in read_metrics(run) if record["kind"] == "step"]


@pytest.mark.parametrize("steps", [0, 3])
def test_a_raised_budget_is_part_of_the_run_after_a_crash(run: Path, steps: int) -> None:
    with crash(steps, checkpoint=steps > 0):
        call("train", "--resume", run, "--budget", f"{BUDGET + 2000}tok")
    finished = succeeded(call("train", "--resume", run))
    report = read_report(run)
    assert report["budget"] == report["config"]["train"]["budget"] == f"{BUDGET + 2000}tok"
    assert abs(report["tokens"] - BUDGET - 2000) <= STEP_TOKENS / 2
    assert multipliers(run)[-1] < 0.05, "it ends annealed"
    assert not rates(finished.err), "the second session changes nothing"


def test_a_changed_implementation_is_part_of_the_run(run: Path) -> None:
    with crash(1, checkpoint=False):
        call("train", "--resume", run, "--budget", f"{BUDGET + 2000}tok", "--implementation", "plain")
    assert json.loads((run / "config.json").read_text())["config"]["train"]["implementation"] == "plain"


def test_a_tracker_that_is_missing_meanwhile_is_given_up(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    folder, resume = RunFolder(run), ("train", "--resume", run, "--budget", f"{BUDGET + STEP_TOKENS}tok")
    folder.config = dataclasses.replace(folder.config, train=dataclasses.replace(folder.config.train, track="wandb"))
    folder.save_config()
    refused = call(*resume)
    assert refused.code == 1 and "pip install wandb" in refused.err
    succeeded(call(*resume, "--track", "none"))
    assert RunFolder(run).config.train.track == "none"


@pytest.mark.parametrize("budget", ["1000tok", f"{BUDGET + 20}tok", "1e6flop", "3steps", "0.01s"])
def test_a_budget_that_is_spent_already_changes_nothing(run: Path, budget: str) -> None:
    before = files_below(run)
    finished = call("train", "--resume", run, "--budget", budget)
    assert (finished.code, finished.out) == (1, "") and "already" in finished.err and budget in finished.err
    assert files_below(run) == before


@pytest.mark.parametrize("flags", [(), ("--budget", f"{BUDGET / 1000}ktok"), ("--implementation", "plain")])
def test_a_finished_run_is_left_as_it_is_and_says_so(run: Path, flags: tuple[str, ...]) -> None:
    before = files_below(run)
    finished = succeeded(call("train", "--resume", run, *flags))
    assert files_below(run) == before
    assert "no step is taken" in finished.err and "--budget" in finished.err
    assert finished.results()["bits_per_byte"] == f"{read_report(run)['bits_per_byte']:.4f}"


def test_a_run_goes_on_with_its_own_data_whatever_has_become_of_its_text(place: Path) -> None:
    succeeded(call(*TRAIN, "--budget", "1000tok", "--run", "r"))
    further = ("--budget", "2000tok")
    shutil.copytree(place / "r", place / "beside its text")
    shutil.copytree(place / "r", place / "beside another text")
    succeeded(call("train", "--resume", "beside its text", *further))
    text = (place / "notes.txt").read_bytes()
    write_notes(place / "notes.txt", 500)
    finished = succeeded(call("train", "--resume", "beside another text", *further))
    assert "notes.txt" in finished.err and "as it was when the run was started" in finished.err
    (place / "notes.txt").unlink()
    finished = succeeded(call("train", "--resume", "r", *further))
    assert "notes.txt" in finished.err and "documents: " in finished.err
    runs = ("r", "beside its text", "beside another text")
    assert len({(place / name / "weights.safetensors").read_bytes() for name in runs}) == 1
    # The text is needed only where the cache lacks it.
    further = ("--budget", "3000tok")
    cached = next((place / "home" / "prepared").iterdir())
    (cached / "train.bin").write_bytes(b"damaged")
    finished = call("train", "--resume", "r", *further)
    assert finished.code == 1 and "notes.txt does not exist" in finished.err and "cache" in finished.err
    (place / "notes.txt").write_bytes(text)
    assert "made again" in succeeded(call("train", "--resume", "r", *further)).err
    shutil.rmtree(cached)
    (place / "notes.txt").write_bytes(text + b"One more line.\n")
    before = files_below(place / "r")
    finished = call("train", "--resume", "r", "--budget", "4000tok")
    assert (finished.code, finished.out) == (1, "") and files_below(place / "r") == before
    error = finished.err.splitlines()[-1]
    assert "has changed since it was started" in error and "Expected prepared data" in error and "Restore" in error
    assert list(cached.parent.iterdir()) == [], "another text is not prepared in vain"


def test_a_model_with_fewer_tokens_than_its_data_is_refused(place: Path) -> None:
    with crash(0, checkpoint=False):
        call(*TRAIN, "--budget", "1000tok", "--run", "r")
    path = place / "r" / "config.json"
    saved = json.loads(path.read_text())
    saved["config"]["model"]["vocabulary_size"] = 300
    path.write_text(json.dumps(saved))
    finished = call("train", "--resume", "r")
    assert finished.code == 1 and "fewer tokens" in finished.err


def test_a_spent_budget_of_seconds_takes_no_step_more(place: Path) -> None:
    succeeded(call(*TRAIN, "--budget", "0.2s", "--run", "r"))
    before = files_below(place / "r")
    assert "no step is taken" in succeeded(call("train", "--resume", "r")).err
    assert files_below(place / "r") == before
    (place / "r" / "report.json").unlink()
    (place / "r" / "weights.safetensors").unlink()
    succeeded(call("train", "--resume", "r"))  # what a crash at the end has cost is written again, without a step
    after = files_below(place / "r")
    for name in ("weights.safetensors", "config.json"):
        assert after[name] == before[name]
    assert read_report(place / "r")["steps"] == len(multipliers(place / "r"))


def test_a_new_budget_says_from_which_rate_it_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = Interruption.hold

    def interrupted(self: Interruption, promise: str) -> None:
        hold(self, promise)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Interruption, "hold", interrupted)
    (line,) = rates(call("train", "--resume", run, "--budget", f"{2.5 * BUDGET / 1000}ktok").err)
    assert "1% of its peak" in line and "100% from here" in line and "rises" in line and "from 50%" in line
    # Interrupted at once, and cut short: 40 % of the first budget are now 80 %.
    (line,) = rates(call("train", "--resume", run, "--budget", f"{1.25 * BUDGET / 1000}ktok").err)
    assert "100% of its peak" in line and "41% from here" in line and "rises" not in line


def rates(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("learning rate: ")]


def test_after_a_crash_the_newer_state_writes_and_is_named(run: Path) -> None:
    old = call("generate", run, "--temperature", "0")
    assert "checkpoint" not in old.err
    steps = read_report(run)["steps"]
    with crash(20):
        call("train", "--resume", run, "--budget", f"{4 * BUDGET}tok")
    assert read_report(run)["continued"] and "gone on since" in (run / "report.md").read_text()
    for command in (("generate", run, "--temperature", "0"), ("eval", run, "notes.txt")):
        finished = succeeded(call(*command))
        assert f"its last checkpoint, step {steps + 20}" in finished.err
        assert finished.out != old.out
    succeeded(call("train", "--resume", run, "--budget", f"{4 * BUDGET}tok"))
    assert "checkpoint" not in succeeded(call("generate", run)).err
    assert not read_report(run)["continued"] and "gone on since" not in (run / "report.md").read_text()


def test_a_finished_run_without_its_checkpoint_is_not_begun_again(run: Path) -> None:
    (run / "checkpoints" / "last.safetensors").unlink()
    before = files_below(run)
    finished = call("train", "--resume", run, "--budget", "1Mtok")
    assert finished.code == 1 and "No checkpoint at" in finished.err
    assert files_below(run) == before


def test_a_run_is_locked_while_its_configuration_is_replaced(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    sound = Trainer._one_step

    def one_step(self: Trainer) -> None:
        if not seen:
            seen.append(call("train", "--resume", run, "--budget", "2Mtok"))
        sound(self)

    monkeypatch.setattr(Trainer, "_one_step", one_step)
    succeeded(call("train", "--resume", run, "--budget", f"{BUDGET + 300}tok"))
    assert seen[0].code == 1 and "Another process is training" in seen[0].err


def test_a_report_of_another_run_is_noticed_and_written_again(run: Path, place: Path) -> None:
    own, first = read_report(run), place / "first"
    write_notes(place / "notes.txt", 80)
    for name, seed in (("first", 1), ("second", 2)):
        succeeded(call(*TRAIN, "--budget", "1000tok", "--seed", str(seed), "--run", name))
    expected, before = read_report(first), files_below(first)
    for wrong in (place / "second", run):
        shutil.copy(wrong / "report.json", first)
        finished = succeeded(call("train", "--resume", first))
        assert "is not that of its weights" in finished.err
        assert finished.results()["bits_per_byte"] == f"{expected['bits_per_byte']:.4f}"
        after = files_below(first)
        assert read_report(first)["weights_checksum"] == expected["weights_checksum"] != own["weights_checksum"]
        assert after["weights.safetensors"] == before["weights.safetensors"]


def test_a_run_that_went_back_to_its_best_checkpoint_shows_what_it_is_now(run: Path) -> None:
    folder = RunFolder(run)
    best = folder.load_checkpoint("best")[1].step
    ended, weights = folder.checkpoint("last").read_bytes(), folder.weights.read_bytes()
    for session in range(2):  # the second time there is nothing to go back from
        with crash(0, checkpoint=False):
            call("train", "--resume", run, "--resume-from", "best", "--budget", f"{2 * BUDGET}tok")
        kept = {name: content for name, content in files_below(run).items() if ".replaced" in name}
        assert kept == {"checkpoints/last.safetensors.replaced": ended, "weights.safetensors.replaced": weights}
        assert f"last checkpoint, step {best}" in succeeded(call("generate", run)).err, session
    with crash(2):
        call("train", "--resume", run)
    newer = folder.checkpoint("last").read_bytes()
    with crash(0, checkpoint=False):
        call("train", "--resume", run, "--resume-from", "best")
    assert folder.checkpoint("last").with_name("last.safetensors.replaced1").read_bytes() == newer


@pytest.mark.parametrize("budget", ["1000tok", "1 parsec"])
def test_a_run_goes_back_only_when_all_else_is_possible(run: Path, budget: str) -> None:
    before = files_below(run)
    assert call("train", "--resume", run, "--resume-from", "best", "--budget", budget).code == 1
    assert files_below(run) == before


def test_weights_that_are_not_of_the_last_checkpoint_are_not_shown_as_such(run: Path, place: Path) -> None:
    shutil.copytree(run, place / "longer")
    succeeded(call("train", "--resume", "longer", "--budget", f"{2 * BUDGET}tok"))
    step = read_report(run)["steps"]
    weights = run / "weights.safetensors"
    weights.unlink()
    told = [succeeded(call("generate", run)).err]
    shutil.copy(place / "longer" / "weights.safetensors", weights)
    told.append(succeeded(call("generate", run)).err)
    for text, why in zip(told, ("is missing", f"is of step {read_report(place / 'longer')['steps']}"), strict=True):
        assert why in text and f"last checkpoint, step {step}" in text and "--resume" in text
    succeeded(call("train", "--resume", run))
    assert "checkpoint" not in succeeded(call("generate", run)).err


def test_a_run_is_locked_until_its_report_is_written(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def write_report(*arguments: Any) -> None:
        seen.append(call("train", "--resume", run, "--budget", "2Mtok"))
        sound(*arguments)

    sound = report.write_report
    monkeypatch.setattr(report, "write_report", write_report)
    succeeded(call("train", "--resume", run, "--budget", f"{BUDGET + 300}tok"))
    assert seen[0].code == 1 and "Another process is training" in seen[0].err


def test_a_run_of_an_earlier_version_goes_on_where_its_tokens_are_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighted = ("--data", "notes.txt:0.7", "--data", "other.txt:0.3")
    write_notes(place / "notes.txt", 80)
    write_notes(place / "other.txt", 60)
    with monkeypatch.context() as earlier:
        for module in ("prepare", "mixture", "prepared"):
            earlier.setattr(f"mlx_tiny.data.{module}.PREPARED_VERSION", 6)
        for name, data in (("text", ("--data", "notes.txt")), ("mixture", weighted)):
            succeeded(call("train", *data, *TINY, *FEW_PAUSES, "--budget", "1000tok", "--run", name))
            shutil.copytree(place / name, place / f"{name} then")
            succeeded(call("train", "--resume", f"{name} then", "--budget", "2000tok"))
    shutil.rmtree(place / "home" / "prepared")
    for name in ("text", "mixture"):
        finished = succeeded(call("train", "--resume", name, "--budget", "2000tok"))
        weights = [(place / run / "weights.safetensors").read_bytes() for run in (name, f"{name} then")]
        assert "resumed at step" in finished.err and weights[0] == weights[1]
    write_notes(place / "notes.txt", 81)
    finished = call("train", "--resume", "text", "--budget", "3000tok")
    assert finished.code == 1 and "--from" in finished.err
