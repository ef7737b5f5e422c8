"""Trackers are told what the listener is told, on this machine only, and none of them stops a run that has begun."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from report.planted_runs import unreported_run
from tiny_run import Recorder

from mlx_tiny.errors import TinyError
from mlx_tiny.records import EvaluationRecord, StepRecord
from mlx_tiny.training import tracking
from mlx_tiny.training.tracking import require_tracker, tracked

ENDED: Any = SimpleNamespace(
    evaluation=SimpleNamespace(bits_per_byte=1.5, with_counting_bits_per_byte=None), progress=SimpleNamespace(step=4)
)


class Told:
    """Stands for the module and for the run of trackio and wandb."""

    def __init__(self, fail_at: int = 99) -> None:
        self.fail_at, self.begun, self.logged = fail_at, dict[str, Any](), list[tuple[int, dict[str, float]]]()
        self.ended = 0

    def init(self, **settings: Any) -> Told:
        if self.fail_at == 0:
            raise ValueError("no account")
        self.begun = settings
        print("welcome to the tracker")
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))
        if len(self.logged) >= self.fail_at:
            raise OSError("the disk of the tracker is full")

    def finish(self) -> None:
        self.ended += 1

    def install(self, name: str, patch: pytest.MonkeyPatch) -> Told:
        module: Any = ModuleType(name)
        module.__spec__, module.init, module.finish = ModuleSpec(name, None), self.init, self.finish
        module.Settings = dict
        patch.setitem(sys.modules, name, module)
        patch.setattr(tracking, "_SECONDS_BETWEEN_STEPS", 0)
        return self


def tell(run: Any, listener: Recorder) -> None:
    """What a run of two steps tells."""
    with tracked(listener, run, resumed=False) as both:
        for step in (1, 2):
            both.step(StepRecord(step, 3.0 - step, 128 * step, 1e6, 0.5 * step, 0.1, 1.0, 256.0))
        both.evaluation(EvaluationRecord(2, 256, 1.0, 0.2, 2.5))
        both.sample(0.2, "Once")
        both.ended(ENDED)


@pytest.mark.parametrize("name", ["trackio", "wandb"])
def test_a_tracker_is_told_everything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    told, listener = Told().install(name, monkeypatch), Recorder()
    run = unreported_run(tmp_path / "a", track=name)
    require_tracker(name)
    tell(run, listener)
    assert [step for step, _ in told.logged] == [1, 2, 2, 4] and told.ended == 1
    assert told.logged[1][1]["loss"] == 1.0 and told.logged[1][1]["tokens"] == 256
    assert told.logged[2][1] == {"validation_bits_per_byte": 2.5}
    assert told.logged[3][1] == {"final_bits_per_byte": 1.5}
    assert (told.begun["name"], told.begun["config"]["train"]["track"]) == ("a", name)
    assert told.begun.get("mode") == ("offline" if name == "wandb" else None)
    assert len(listener.steps) == 2 and listener.samples == [(0.2, "Once")] and name in listener.messages[0]
    assert capsys.readouterr().out == ""


def test_the_users_settings_decide_where_wandb_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    told = Told().install("wandb", monkeypatch)
    tell(unreported_run(tmp_path / "a", track="wandb"), Recorder())
    assert told.begun["mode"] is None


def test_a_tracker_that_fails_is_told_once_and_the_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, listener = Told(fail_at=2).install("trackio", monkeypatch), Recorder()
    tell(unreported_run(tmp_path / "a", track="trackio"), listener)
    assert len(told.logged) == 2 and len(listener.steps) == 2 and len(listener.evaluations) == 1
    (warning,) = [text for text in listener.messages if "warning" in text]
    assert "disk of the tracker is full" in warning


def test_a_tracker_that_is_missing_or_does_not_start_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(TinyError, match="pip install wandb"):
        require_tracker("wandb")
    require_tracker("none")
    Told(fail_at=0).install("trackio", monkeypatch)
    with pytest.raises(TinyError, match=r"no account.*--track none"):
        tell(unreported_run(tmp_path / "a", track="trackio"), Recorder())


def test_tensorboard_reads_what_it_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    monkeypatch.setattr(tracking, "_SECONDS_BETWEEN_STEPS", 0)
    run = unreported_run(tmp_path / "a", track="tensorboard")
    tell(run, Recorder())
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert [(event.step, float(event.tensor_proto.float_val[0])) for event in events.Tensors("loss")] == [
        (1, 2),
        (2, 1),
    ]
    assert [event.step for event in events.Tensors("final_bits_per_byte")] == [4]


def test_runs_of_before_are_not_tracked_and_may_be_resumed_with_a_tracker(tmp_path: Path) -> None:
    plain, told = unreported_run(tmp_path / "a"), unreported_run(tmp_path / "b", track="wandb")
    assert plain.config.train.track == "none" and plain.identity() == told.identity()
