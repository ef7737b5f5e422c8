"""The training loop with PyTorch: budget, checkpoints, kills, and runs that change the backend."""

from __future__ import annotations

import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import STEP_TOKENS, Recorder, create_run, tiny_config, tiny_corpus, tiny_trainer, tokens

from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.reference import backend
from mlx_tiny.reference.backend import TorchBackend
from mlx_tiny.study.speed import measured_tokens_per_s
from mlx_tiny.training.backend import MlxBackend
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.evaluate import evaluate
from mlx_tiny.training.outcome import Outcome

from .alike import assert_alike

pytestmark = pytest.mark.torch
CPU = torch.device("cpu")
NAMES = {TorchBackend: "torch", MlxBackend: "mlx"}


def torch_config(folder: Path, **changes: Any) -> RunConfig:
    return tiny_config(folder, **{"backend": "torch", **changes})


def train(run: RunFolder, kind: type = TorchBackend, listener: Recorder | None = None, **kwargs: Any) -> Outcome:
    if kind is TorchBackend:
        made = TorchBackend(run.config, device=CPU)
    else:
        train = replace(run.config.train, backend="mlx", implementation="auto")
        made = kind(replace(run.config, train=train))
    return tiny_trainer(run, listener or Recorder(), backend=made, **kwargs).train()


def bits(arrays: dict) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize(("asked", "dtype"), [("auto", "bfloat16"), ("plain", "float32")])
def test_the_loss_falls_and_everything_is_reported(tmp_path: Path, asked: str, dtype: str) -> None:
    config = torch_config(tmp_path, budget=tokens(60), evaluations=4, samples=1, implementation=asked, dtype=dtype)
    run, recorder = create_run(tmp_path / "run", config), Recorder()
    outcome = train(run, listener=recorder)
    losses = [report.loss for report in recorder.steps]
    assert_alike(losses[0], math.log(config.model.vocabulary_size), "model")
    assert np.mean(losses[-5:]) < losses[0] - 1.5
    assert [check.step for check in recorder.evaluations] == [15, 30, 45]
    assert len(recorder.samples) == 1 and isinstance(recorder.samples[0][1], str)
    assert (outcome.progress.step, outcome.interrupted, outcome.weights_from) == (60, None, "last")
    assert bits(run.load_weights()) == bits(outcome.state.parameters)
    corpus = tiny_corpus(config)
    expected = evaluate(run.load_weights(), config.model, corpus.valid, corpus.valid_bytes)
    operation = "bits per byte" if dtype == "float32" else "model"
    assert_alike(outcome.evaluation.bits_per_byte, expected.bits_per_byte, operation, dtype=dtype)
    assert (outcome.evaluation.tokens, outcome.evaluation.bytes) == (expected.tokens, expected.bytes)
    assert recorder.steps[-1].flops == pytest.approx(60 * STEP_TOKENS * training_flops_per_token(config.model))


@pytest.mark.parametrize(("first", "second"), [(TorchBackend, MlxBackend), (MlxBackend, TorchBackend)])
def test_a_run_begun_with_one_backend_goes_on_with_the_other(tmp_path: Path, first: type, second: type) -> None:
    config = torch_config(tmp_path, budget=tokens(50), schedule={"cooldown": 0.0})
    run, whole = (create_run(tmp_path / name, config) for name in ("broken", "whole"))
    recorder = Recorder()
    train(run, first)
    outcome = train(run, second, recorder, resume=True, budget=tokens(100))
    resumed, warning = recorder.messages
    assert resumed == f"resumed at step 50, after {50 * STEP_TOKENS:,} tokens"
    assert re.match(f"warning: .*{NAMES[first]} .*{NAMES[second]} ", warning)
    assert [report.step for report in recorder.steps] == list(range(51, 101))
    train(whole, first)  # whose weights at the start are others than those of the second
    expected = train(whole, first, resume=True, budget=tokens(100))
    assert_alike(outcome.evaluation.loss, expected.evaluation.loss, "end of a run")


class Killed(BaseException):
    """Ends a run where it stands."""


class Mortal(Recorder):
    """Ends its own session when a certain step is reported."""

    def step(self, report: Any) -> None:
        if report.step == 22:
            raise Killed


def test_twenty_steps_a_kill_and_twenty_more_are_forty_bit_for_bit(tmp_path: Path) -> None:
    config = torch_config(tmp_path, optimizer={"clip_norm": 0.5}, micro_batches=2)
    whole, broken = (create_run(tmp_path / name, config) for name in ("whole", "broken"))
    train(whole)
    with pytest.raises(Killed):
        train(broken, listener=Mortal())
    assert broken.load_checkpoint("last")[1].step == 20 and not broken.weights.exists()
    train(broken, resume=True)
    for name in ("last", "best"):
        (state, progress), (other, others) = whole.load_checkpoint(name), broken.load_checkpoint(name)
        assert bits(state.parameters) == bits(other.parameters) and bits(state.optimizer) == bits(other.optimizer)
        assert (progress.losses, progress.best_bits_per_byte) == (others.losses, others.best_bits_per_byte)
    assert not [path for path in broken.path.rglob(".*")]


@pytest.mark.parametrize(("at_step", "kept", "bad"), [(25, 20, "nan"), (40, 30, "inf")])
def test_a_bad_weight_stops_the_run_and_spares_the_checkpoint(
    tmp_path: Path, at_step: int, kept: int, bad: str
) -> None:
    run = create_run(tmp_path / "run", torch_config(tmp_path))
    made = TorchBackend(run.config, device=CPU)
    calls = [0]

    def step(*arguments):
        state, loss = made._step(*arguments)
        calls[0] += 1
        if calls[0] == at_step + 1:  # the warm-up came first
            state.parameters["head"][0, 0] = float(bad)
        return state, loss

    made.step = step
    with pytest.raises(TinyError, match="last good checkpoint is kept"):
        tiny_trainer(run, backend=made).train()
    assert run.load_checkpoint("last")[1].step == kept


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", torch_config(tmp_path, budget=tokens(2)))
    train(run)
    other = create_run(tmp_path / "other", torch_config(tmp_path, budget=tokens(2), optimizer={"matrix_rate": 0.5}))
    os.replace(run.checkpoint("last"), other.checkpoint("last"))
    with pytest.raises(TinyError, match="another configuration"):
        train(other, resume=True)


def test_compilation_that_is_not_done_is_reported(tmp_path: Path) -> None:
    told: list[str] = []
    TorchBackend(torch_config(tmp_path, compile=True), told.append)
    assert len(told) == 1 and "not compiled" in told[0]
    TorchBackend(torch_config(tmp_path, compile=False), told.append)
    assert len(told) == 1


@pytest.mark.parametrize(("asked", "taken"), [("auto", "fused"), ("plain", "plain")])
def test_version_device_and_attention_are_named(tmp_path: Path, asked: str, taken: str) -> None:
    made = TorchBackend(torch_config(tmp_path, implementation=asked), device=CPU)
    assert made.description.startswith(f"torch {torch.__version__} on cpu, ")
    assert made.description.endswith(f"; {taken} attention")


def test_devices_are_taken_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"cuda": True, "mps": True}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there["cuda"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there["mps"])
    assert backend.choose_device().type == "cuda"
    there["cuda"] = False
    assert backend.choose_device().type == "mps"
    there["mps"] = False
    assert backend.choose_device().type == "cpu"


def test_rates_of_this_machine_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_tiny.study.speed._MEASURED_SECONDS", 0.05)
    made = TorchBackend(torch_config(tmp_path), device=CPU)
    assert 1e8 < made.matmul_peak() < 1e15
    assert 1e7 < made.peak_memory_bytes() < 1e11
    tokens_per_s = measured_tokens_per_s(made.config, lambda config: TorchBackend(config, device=CPU))
    assert 1e5 < tokens_per_s * training_flops_per_token(made.config.model) < made.matmul_peak()
