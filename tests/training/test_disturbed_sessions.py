"""Sessions that are interrupted, and those whose process is stopped, asleep, or waits for a reader."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tiny_run import Recorder, bits, create_run, tiny_config, tiny_trainer, tokens

from mlx_tiny.tools import signals
from mlx_tiny.tools.signals import Interrupted
from mlx_tiny.training import trainer
from mlx_tiny.training.clock import Clock


class Presser(Recorder):
    """Presses Ctrl-C while a step is reported."""

    def __init__(self, at_step: int) -> None:
        super().__init__()
        self.at_step = at_step

    def step(self, report) -> None:
        super().step(report)
        if report.step == self.at_step:
            signal.raise_signal(signal.SIGINT)


class Sleeper(Recorder):
    """Each step takes 0.01 s; the machine sleeps for an hour during one of them, and for a minute at an evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def step(self, report) -> None:
        super().step(report)
        self.now_s += 3600 if report.step == 5 else 0.01

    def evaluation(self, record) -> None:
        super().evaluation(record)
        self.now_s += 60


def test_time_asleep_is_not_charged_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Sleeper()
    monkeypatch.setattr(trainer, "Clock", lambda: Clock(lambda: recorder.now_s))
    run = create_run(tmp_path / "run", tiny_config(tmp_path, budget="1s", evaluations=2, checkpoints=0))
    outcome = tiny_trainer(run, recorder).train()
    assert len(recorder.evaluations) == 1 and recorder.steps[-1].multiplier < 0.1
    assert 0.9 < outcome.progress.seconds < 1.1
    assert outcome.phases["gaps"] == pytest.approx(3660, abs=1)
    first, second = [message for message in recorder.messages if "asleep" in message]
    assert "1h00m" in first and "59.9s" in second and "charged" in first


def test_gaps_of_a_budget_without_time_are_told_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Sleeper()
    monkeypatch.setattr(trainer, "Clock", lambda: Clock(lambda: recorder.now_s))
    run = create_run(tmp_path / "run", tiny_config(tmp_path, budget=tokens(8), evaluations=1, checkpoints=0))
    outcome = tiny_trainer(run, recorder).train()
    assert outcome.phases["gaps"] == pytest.approx(3600, abs=1)
    (told,) = [message for message in recorder.messages if "asleep" in message]
    assert "1h00m" in told and "charged" not in told


class Paused(Recorder):
    """Nobody reads what is shown, for a while at each line; the clock is looked at meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s, self.clock = 0.0, Clock(lambda: self.now_s)

    def step(self, report) -> None:
        super().step(report)
        self.now_s += 0.01
        self._wait(60 if report.step == 5 else 0)

    def message(self, text) -> None:
        super().message(text)
        self._wait(30)

    def _wait(self, seconds: int) -> None:
        for _ in range(10 * seconds):
            self.now_s += 0.1
            self.clock()


def test_time_in_which_nobody_reads_is_not_charged_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Paused()
    monkeypatch.setattr(trainer, "Clock", lambda: recorder.clock)
    run = create_run(tmp_path / "run", tiny_config(tmp_path, budget="1s", evaluations=1, checkpoints=0))
    outcome = tiny_trainer(run, recorder).train()
    assert len(recorder.steps) > 50 and 0.9 < outcome.progress.seconds < 1.1
    assert outcome.phases["gaps"] == pytest.approx(90, abs=1)
    assert len([message for message in recorder.messages if "charged" in message]) == 1


def test_an_interruption_saves_and_says_so(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, checkpoints=0, evaluations=1)
    run, recorder = create_run(tmp_path / "run", config), Presser(at_step=10)
    before = signal.getsignal(signal.SIGINT)
    outcome = tiny_trainer(run, recorder).train()
    assert signal.getsignal(signal.SIGINT) is before
    assert outcome.interrupted == "SIGINT" and not outcome.evaluated_whole
    assert 10 <= outcome.progress.step <= 13
    assert outcome.evaluation.tokens == config.train.evaluation_tokens
    assert recorder.steps[-1].step == outcome.progress.step, "steps in flight are finished and told"
    assert run.load_checkpoint("last")[1].step == outcome.progress.step
    assert bits(run.load_weights()) == bits(run.load_checkpoint("last")[0].parameters)


def test_a_second_interruption_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_ONE_REQUEST_S", 0.0)

    class Impatient(Recorder):
        def step(self, report) -> None:
            super().step(report)
            if report.step == 5:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    run, recorder = create_run(tmp_path / "run", tiny_config(tmp_path, checkpoints=39)), Impatient()
    with pytest.raises(Interrupted):
        tiny_trainer(run, recorder).train()
    assert run.load_checkpoint("last")[1].step == 4
    assert tiny_trainer(run, resume=True).train().progress.step == 40


def test_an_interrupted_final_evaluation_is_made_on_the_beginning(tmp_path: Path) -> None:
    """The budget is spent then, so that the next session only evaluates."""
    run = create_run(tmp_path / "run", tiny_config(tmp_path, budget=tokens(5), evaluations=1, counting=False))
    session, seen = tiny_trainer(run), list[int]()
    sound = session.backend.token_nats

    def evaluate(*arguments):
        seen.append(len(arguments[1]))
        if len(seen) == 1:
            signal.raise_signal(signal.SIGTERM)
        return sound(*arguments)

    session.backend.token_nats = evaluate  # type: ignore[method-assign]
    outcome = session.train()
    assert (outcome.interrupted, outcome.evaluated_whole, outcome.progress.step) == ("SIGTERM", False, 5)
    assert outcome.evaluation.tokens == session.config.train.evaluation_tokens
    again = tiny_trainer(run, resume=True).train()
    assert (again.interrupted, again.evaluated_whole, again.progress.step) == (None, True, 5)
    assert bits(again.state.parameters) == bits(outcome.state.parameters)
