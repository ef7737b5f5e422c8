"""The training loop: it learns, ends with its budget, and loses nothing."""

from __future__ import annotations

import math
import os
import shutil
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tiny_run import (
    STEP_TOKENS,
    Recorder,
    assert_same_runs,
    bits,
    create_run,
    tiny_config,
    tiny_corpus,
    tiny_trainer,
    tokens,
    train_whole,
)

from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.records import FinalRecord, SampleRecord
from mlx_tiny.training import trainer
from mlx_tiny.training.arrays import all_finite
from mlx_tiny.training.backend import MlxBackend
from mlx_tiny.training.clock import Clock
from mlx_tiny.training.evaluate import evaluate


def test_the_loss_falls_and_everything_is_reported(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, budget=tokens(60), evaluations=4, checkpoints=2, samples=2)
    run, outcome, recorder = train_whole(tmp_path / "run", config)
    losses = [report.loss for report in recorder.steps]
    assert losses[0] == pytest.approx(math.log(config.model.vocabulary_size), rel=1e-6)
    assert np.mean(losses[-5:]) < losses[0] - 1.5
    assert outcome.evaluation.loss < losses[0] - 1.5
    assert [check.step for check in recorder.evaluations] == [15, 30, 45]
    assert [check.tokens for check in recorder.evaluations] == [15 * STEP_TOKENS, 30 * STEP_TOKENS, 45 * STEP_TOKENS]
    values = [check.validation_bits_per_byte for check in recorder.evaluations]
    assert values == sorted(values, reverse=True)
    assert [fraction for fraction, _ in recorder.samples] == [pytest.approx(20 / 60), pytest.approx(40 / 60)]
    kept = [record for record in run.metrics.read() if isinstance(record, SampleRecord)]
    assert [(record.step, record.text) for record in kept] == [
        (step, text) for step, (_, text) in zip((20, 40), recorder.samples, strict=True)
    ]
    assert (outcome.interrupted, outcome.evaluated_whole, outcome.weights_from) == (None, True, "last")

    assert [report.step for report in recorder.steps] == list(range(1, 61))
    flops = STEP_TOKENS * training_flops_per_token(config.model)
    for number, report in enumerate(recorder.steps):
        assert report.tokens == (number + 1) * STEP_TOKENS
        assert report.flops == pytest.approx((number + 1) * flops)
        assert report.fraction == pytest.approx((number + 0.5) / 60)
        assert report.tokens_per_s > 0
    assert all(np.diff([report.seconds for report in recorder.steps]) >= 0)

    *records, final = run.metrics.read()
    assert records[:15] == recorder.steps[:15] and [r for r in records if r.kind == "step"] == recorder.steps
    assert [r for r in records if r.kind == "evaluation"] == recorder.evaluations
    end, strength = outcome.progress, outcome.evaluation
    strengths = strength.bits_per_byte, strength.with_counting_bits_per_byte
    assert final == FinalRecord(60, 60 * STEP_TOKENS, end.seconds, *strengths)
    assert bits(run.load_weights()) == bits(outcome.state.parameters)
    assert not [path for path in run.path.rglob(".*")]


def test_the_final_evaluation_takes_the_whole_validation_file(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, budget=tokens(6), counting=False)
    _, outcome, _ = train_whole(tmp_path / "run", config)
    corpus = tiny_corpus(config)
    whole = evaluate(outcome.state.parameters, config.model, corpus.valid, corpus.valid_bytes)
    assert outcome.evaluation == whole
    assert whole.tokens == len(corpus.valid) - 1
    assert whole.bytes == corpus.valid_bytes


@pytest.mark.parametrize(("asked", "taken"), [(1, 1), (7, 7), (7.4, 7), (7.6, 8), (10, 10)])
def test_a_token_budget_ends_at_the_nearest_step(tmp_path: Path, asked: float, taken: int) -> None:
    _, outcome, recorder = train_whole(tmp_path / "run", tiny_config(tmp_path, budget=tokens(asked)))
    assert [report.step for report in recorder.steps] == list(range(1, taken + 1))
    assert (outcome.progress.step, outcome.progress.tokens) == (taken, taken * STEP_TOKENS)
    assert outcome.progress.sequences == taken * STEP_TOKENS // 32


def test_a_budget_of_flops_ends_at_the_nearest_step(tmp_path: Path) -> None:
    flops = STEP_TOKENS * training_flops_per_token(tiny_config(tmp_path).model)
    _, outcome, _ = train_whole(tmp_path / "run", tiny_config(tmp_path, budget=f"{9.3 * flops:.0f}flop"))
    assert outcome.progress.step == 9
    assert outcome.progress.flops == pytest.approx(9 * flops)


def test_a_budget_of_time_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step_s, pause_s = 0.01, 0.05
    moment = 0.0

    class Taking(Recorder):
        """Lets the time pass that steps, evaluations and samples are to take."""

        def step(self, report) -> None:
            nonlocal moment
            super().step(report)
            moment += step_s

        def evaluation(self, record) -> None:
            nonlocal moment
            super().evaluation(record)
            moment += pause_s

        def sample(self, fraction: float, text: str) -> None:
            nonlocal moment
            moment += pause_s

    monkeypatch.setattr(trainer, "Clock", lambda: Clock(lambda: moment))
    config = tiny_config(tmp_path, budget="1s", evaluations=3, samples=1, counting=False)
    run, recorder = create_run(tmp_path / "run", config), Taking()
    outcome = tiny_trainer(run, recorder).train()
    assert outcome.progress.seconds == pytest.approx(1, abs=step_s)
    # An evaluation takes all that evaluations and samples may take together, so that it is the only one.
    assert len(recorder.steps) == pytest.approx((1 - pause_s) / step_s, abs=1)
    assert 0.9 < recorder.steps[-1].fraction < 1 and recorder.steps[-1].multiplier < 0.5
    assert len(recorder.evaluations) == 1 and "evaluation 1, samples 1" in recorder.messages[-1]


@pytest.mark.parametrize("budget", [tokens(20), "1s"])
def test_rates_are_those_in_the_middle_of_a_step(budget: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 0.0

    def step(backend: MlxBackend, state: Any, loss: Any) -> None:
        nonlocal moment
        mx.eval(loss, state.arrays())
        moment += 0.05

    monkeypatch.setattr(trainer, "Clock", lambda: Clock(lambda: moment))
    monkeypatch.setattr(MlxBackend, "start", step)
    monkeypatch.setattr(MlxBackend, "wait", step)
    rates = {"warmup": 0.5, "cooldown": 0.5}
    config, recorder = tiny_config(tmp_path, budget=budget, schedule=rates, counting=False), Recorder()
    run = create_run(tmp_path / "run", config)
    tiny_trainer(run, recorder).train()
    multipliers = [report.multiplier for report in recorder.steps]
    assert multipliers[0] == pytest.approx(0.05), "not 0, or the step would be lost"
    if budget != "1s":  # where the time of the steps in flight is still to come
        assert multipliers[-1] == pytest.approx(0.05) and sum(multipliers) == pytest.approx(10)


def poison(trainer, at_step: int, what: str) -> None:
    """Make the update of one step wrong: its weights or its loss."""
    sound, calls = trainer.step, [0]

    def step(state, batch, multiplier, momentum):
        new, loss = type(sound).__call__(sound, state, batch, multiplier, momentum)
        calls[0] += 1
        if calls[0] == at_step + 1:  # the warm-up came first
            if what == "loss":
                return new, loss * float("nan")
            new.parameters["head"] = new.parameters["head"] * float(what)
        return new, loss

    trainer.step = step


@pytest.mark.parametrize(("at_step", "what"), [(25, "inf"), (25, "loss"), (40, "nan")])
def test_a_nan_stops_the_run_and_spares_the_checkpoint(tmp_path: Path, at_step: int, what: str) -> None:
    run = create_run(tmp_path / "run", tiny_config(tmp_path, checkpoints=3))
    trainer = tiny_trainer(run)
    poison(trainer, at_step, what)
    with pytest.raises(TinyError, match="last good checkpoint is kept") as raised:
        trainer.train()
    assert "Start again with lower rates" in str(raised.value)
    state, progress = run.load_checkpoint("last")
    assert progress.step == (20 if at_step == 25 else 30)
    assert all_finite(state.arrays())
    assert not run.weights.exists()
    # And it serves: the same run without the poison goes on from there.
    assert tiny_trainer(run, resume=True).train().progress.step == 40


def test_a_far_too_high_rate_stops_the_run_early(tmp_path: Path) -> None:
    rare: dict[str, Any] = {"checkpoints": 0, "evaluations": 1, "budget": tokens(400)}
    rates = {"matrix_rate": 1e6, "embedding_rate": 1e6, "head_rate": 1e6, "scalar_rate": 1e6}
    config = tiny_config(tmp_path, optimizer=rates, schedule={"warmup": 0.0}, **rare)
    run, recorder = create_run(tmp_path / "run", config), Recorder()
    with pytest.raises(TinyError, match="No checkpoint had been written yet"):
        tiny_trainer(run, recorder).train()
    assert len(recorder.steps) < 100
    assert not run.checkpoint("last").exists()
    tiny_trainer(run, recorder, resume=True)
    assert "no checkpoint yet: it starts again at step 0" in recorder.messages[-1]


def test_the_best_checkpoint_is_used_when_the_loss_got_worse(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", tiny_config(tmp_path, evaluations=4))
    recorder = Recorder()
    trainer = tiny_trainer(run, recorder)
    sound = trainer.step

    def step(state, batch, multiplier, momentum):
        new, loss = type(sound).__call__(sound, state, batch, multiplier, momentum)
        if trainer.step_number == 34:  # worse, and not so bad as to diverge
            new.parameters["head"] = new.parameters["head"] * -0.2
        return new, loss

    trainer.step = step
    outcome = trainer.train()
    check = min(recorder.evaluations, key=lambda check: check.validation_bits_per_byte)
    best_step, best = check.step, check.validation_bits_per_byte
    assert (outcome.weights_from, outcome.weights_step, best_step) == ("best", 30, 30)
    kept, progress = run.load_checkpoint("best")
    assert (progress.step, progress.best_bits_per_byte) == (best_step, best)
    assert bits(run.load_weights()) == bits(kept.parameters) == bits(outcome.state.parameters)
    assert bits(run.load_checkpoint("last")[0].parameters) != bits(kept.parameters)


def test_a_lost_best_checkpoint_does_not_lose_the_run(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", tiny_config(tmp_path, evaluations=4))
    recorder = Recorder()
    trainer = tiny_trainer(run, recorder)
    trainer.best = 0.0  # better than any, and not there
    outcome = trainer.train()
    assert (outcome.weights_from, outcome.weights_step) == ("last", outcome.progress.step)
    assert any("last weights are kept" in message for message in recorder.messages)
    assert run.weights.exists()


def test_a_finished_run_can_go_on_with_more(tmp_path: Path) -> None:
    run, first, _ = train_whole(tmp_path / "run", tiny_config(tmp_path, budget=tokens(10)))
    again = tiny_trainer(run, resume=True).train()
    assert again.progress.step == 10 and bits(again.state.parameters) == bits(first.state.parameters)
    recorder = Recorder()
    more = tiny_trainer(run, recorder, resume=True, budget="15steps").train()
    assert more.progress.step == 15
    assert [report.step for report in recorder.steps] == [11, 12, 13, 14, 15]
    assert recorder.messages[-1] == f"resumed at step 10, after {10 * STEP_TOKENS:,} tokens"
    records = run.metrics.read()
    assert [r.step for r in records if r.kind == "step"] == list(range(1, 16))
    assert [r.kind for r in records].count("final") == 1


def test_the_clock_goes_on_where_it_stopped(tmp_path: Path) -> None:
    run, _, _ = train_whole(tmp_path / "run", tiny_config(tmp_path, budget="0.1s", counting=False))
    saved, recorder = run.load_checkpoint("last")[1].seconds, Recorder()
    second = tiny_trainer(run, recorder, resume=True, budget=f"{saved + 0.1}s").train()
    assert recorder.steps[0].seconds > saved > 0
    assert saved < second.progress.seconds < saved + 1.5


def test_a_session_on_other_lanes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _, _ = train_whole(tmp_path / "run", tiny_config(tmp_path, budget=tokens(2)))
    for description, said in ((MlxBackend(run.config).description, False), ("mlx 0.0 on cpu, 7 lanes", True)):
        monkeypatch.setattr(MlxBackend, "description", description)
        recorder = Recorder()
        tiny_trainer(run, recorder, resume=True, budget=tokens(4))
        assert any("7 lanes" in line and "bit for bit" in line for line in recorder.messages) is said


def test_a_run_that_starts_again_forgets_the_old_one(tmp_path: Path) -> None:
    run, first, _ = train_whole(tmp_path / "run", tiny_config(tmp_path, budget=tokens(5)))
    second = tiny_trainer(run).train()
    assert bits(first.state.parameters) == bits(second.state.parameters)
    assert [r.step for r in run.metrics.read() if r.kind == "step"] == [1, 2, 3, 4, 5]


def test_a_full_disk_is_reported_and_the_old_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, recorder = create_run(tmp_path / "run", tiny_config(tmp_path, checkpoints=3)), Recorder()
    sound = os.fsync

    def fsync(descriptor: int) -> None:
        if recorder.steps and recorder.steps[-1].step >= 15:
            raise OSError(28, "No space left on device")
        sound(descriptor)

    monkeypatch.setattr("mlx_tiny.files.os.fsync", fsync)
    with pytest.raises(TinyError, match="disk is full"):
        tiny_trainer(run, recorder).train()
    monkeypatch.undo()
    assert run.load_checkpoint("last")[1].step == 10
    assert tiny_trainer(run, resume=True).train().progress.step == 40


class Killed(BaseException):
    """Ends a run where it stands; `test_kill.py` kills processes."""


class Mortal(Recorder):
    """Ends its own session when a certain step is reported."""

    def step(self, report) -> None:
        if report.step == 22:
            raise Killed


RESUMED: dict[str, dict[str, Any]] = {
    "clipped": {"optimizer": {"clip_norm": 0.5}},
    "adamw, swiglu, tied": {
        "optimizer": {"matrix_optimizer": "adamw"},
        "model": {"activation": "swiglu", "tied": True},
    },
    "micro-batches, bfloat16": {"micro_batches": 2, "dtype": "bfloat16"},
    "compiled": {
        "compile": True,
        "marks": pytest.mark.skipif(shutil.which("g++") is None, reason="MLX compiles with g++, which is absent"),
    },
}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({k: v for k, v in changes.items() if k != "marks"}, id=name, marks=changes.get("marks", ()))
        for name, changes in RESUMED.items()
    ],
)
def test_twenty_steps_a_kill_and_twenty_more_are_forty_bit_for_bit(tmp_path: Path, changes: dict) -> None:
    config = tiny_config(tmp_path, checkpoints=3, evaluations=3, **changes)
    whole, broken = (create_run(tmp_path / name, config) for name in ("whole", "broken"))
    tiny_trainer(whole).train()
    with pytest.raises(Killed):
        tiny_trainer(broken, Mortal()).train()
    assert broken.load_checkpoint("last")[1].step == 20
    assert not broken.weights.exists()
    tiny_trainer(broken, resume=True).train()
    assert_same_runs(whole, broken)


def test_a_run_goes_on_with_its_own_data_alone(tmp_path: Path) -> None:
    run, _, _ = train_whole(tmp_path / "run", tiny_config(tmp_path, budget=tokens(3)))
    text = tmp_path / "stories.txt"
    text.write_text(text.read_text().replace("Ann", "Nan"))
    with pytest.raises(TinyError, match=r"data of the run .* has changed"):
        tiny_trainer(run, resume=True)


def test_a_budget_below_one_step_takes_one(tmp_path: Path) -> None:
    _, outcome, _ = train_whole(tmp_path / "run", tiny_config(tmp_path, budget="3tok"))
    assert outcome.progress.step == 1


def test_each_phase_is_timed(tmp_path: Path) -> None:
    began = time.monotonic()
    _, outcome, recorder = train_whole(tmp_path / "run", tiny_config(tmp_path, samples=1))
    assert [detail() for what, detail in recorder.waits if what == "the final evaluation"] == ["100%"]
    expected = {"compile and warm up", "data", "training", "evaluation", "checkpoints", "samples", "final evaluation"}
    expected |= {"counting", "gate"}
    assert outcome.phases.keys() - {"gaps"} == expected  # on a busy machine there are gaps
    assert all(seconds > 0 for seconds in outcome.phases.values())
    assert sum(outcome.phases.values()) < time.monotonic() - began
