"""A step gives the same result in micro-batches, over lanes, and compiled or not."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np
import pytest
from numeric import assert_close, to_float64
from numpy_model import random_parameters, to_mlx
from tiny_run import MODEL, subprocess_environment

from mlx_tiny.config import OptimizerConfig, RunConfig, TrainConfig
from mlx_tiny.config.presets import preset_called
from mlx_tiny.linux import lanes
from mlx_tiny.linux.lanes import decide_compilation, why_not_compiled
from mlx_tiny.model.forward import StandIns, token_losses
from mlx_tiny.ops.implementations import decide
from mlx_tiny.training.step import TrainingStep, step_implementations

BATCH = 8
CONFIG = RunConfig(model=MODEL, train=TrainConfig(batch_size=BATCH))
PARAMETERS = to_mlx(random_parameters(MODEL))
on_a_cpu = pytest.mark.skipif(not lanes.on_cpu(), reason="a GPU has one lane")
compiles = pytest.mark.skipif(why_not_compiled() is not None, reason="MLX does not compile here")


def run_config(**train: Any) -> RunConfig:
    return replace(CONFIG, train=replace(CONFIG.train, **train))


def random_batch(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, MODEL.vocabulary_size, (BATCH, MODEL.context + 1)).astype(np.int32)


def simple_loss_and_gradients(batch: np.ndarray) -> tuple[mx.array, dict]:
    inputs, targets = mx.array(batch[:, :-1]), mx.array(batch[:, 1:])
    implementations = decide(MODEL, batch=BATCH)
    return mx.value_and_grad(lambda p: token_losses(p, MODEL, inputs, targets, implementations).mean())(PARAMETERS)


def train(config: RunConfig, steps: int, compiled: bool = False) -> tuple[dict[str, np.ndarray], list[float]]:
    step = TrainingStep(config, compiled=compiled)
    state, losses = step.initial_state(), []
    for number in range(steps):
        state, loss = step(state, random_batch(number % 3), (number + 1) / steps, 0.9)
        losses.append(float(loss))
    return {name: np.array(array) for name, array in {**state.parameters, **state.optimizer}.items()}, losses


@pytest.mark.parametrize("micro_batches", [1, 2, 8])
def test_micro_batches_change_nothing(micro_batches: int) -> None:
    step = TrainingStep(run_config(micro_batches=micro_batches), compiled=False)
    loss, gradients = step.loss_and_gradients(PARAMETERS, random_batch())
    expected_loss, expected = simple_loss_and_gradients(random_batch())
    assert_close(loss, expected_loss, "parts of a batch", "float32")
    assert list(gradients) == list(PARAMETERS)
    for name, gradient in expected.items():
        assert_close(gradients[name], gradient, "parts of a batch", "float32", name)


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_the_step_is_gradients_and_update_and_leaves_the_old_state_alone(micro_batches: int) -> None:
    step = TrainingStep(run_config(micro_batches=micro_batches), compiled=False)
    state = step.initial_state()
    state.parameters = dict(PARAMETERS)
    before = {name: np.array(array) for name, array in state.parameters.items()}
    new, loss = step(state, random_batch(), 0.5, 0.9)
    other_loss, gradients = step.loss_and_gradients(state.parameters, random_batch())
    expected = step.optimizer.update(state.parameters, gradients, state.optimizer, mx.array(0.5), mx.array(0.9))
    assert loss.item() == other_loss.item(), "the loss before the update"
    for got, arrays in zip((new.parameters, new.optimizer), expected, strict=True):
        for name, array in arrays.items():
            np.testing.assert_array_equal(np.array(got[name]), np.array(array))
    for name, weight in before.items():
        assert (np.array(new.parameters[name]) != weight).any()
        np.testing.assert_array_equal(np.array(state.parameters[name]), weight)


@contextlib.contextmanager
def lane_count(count: int) -> Iterator[None]:
    streams = tuple(mx.new_stream(mx.cpu) for _ in range(count)) if count > 1 else (mx.default_stream(mx.cpu),)
    with mock.patch.object(lanes, "_lanes", return_value=streams):
        yield


def some_steps() -> dict[str, np.ndarray]:
    """Gradients of a batch, and the state after six steps."""
    loss, gradients = TrainingStep(CONFIG, compiled=False).loss_and_gradients(PARAMETERS, random_batch())
    state, losses = train(CONFIG, 6)
    arrays = {f"gradient.{name}": np.array(gradient) for name, gradient in gradients.items()}
    shared = [len(lanes.lanes()), len(lanes.shares(BATCH))]
    return {**arrays, **state, "loss": np.array(loss), "losses": np.array(losses), "lanes": np.array(shared)}


@on_a_cpu
def test_lanes_change_nothing_but_rounding_and_their_number_gives_the_same_bits(tmp_path) -> None:
    """Five lanes do not divide a batch of eight, and sixteen lanes are more than the batch has sequences."""
    with lane_count(1):
        one = some_steps()
    with lane_count(2), lanes.one_lane():
        assert some_steps()["loss"] == one["loss"]
    for count in (2, 5, 16):
        with lane_count(count):
            other, again = some_steps(), some_steps()
        assert other["lanes"].tolist() == [count, min(count, BATCH)]
        assert all(array.tobytes() == again[name].tobytes() for name, array in other.items())
        for name in ("loss", *(name for name in one if name.startswith("gradient."))):
            assert_close(other[name], one[name], "parts of a batch", "float32", name)
        np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-4)
        if count == 5:
            code = f"import test_step, numpy; numpy.savez({str(tmp_path / 'a')!r}, **test_step.some_steps())"
            environment = subprocess_environment(MLX_TINY_LANES="5")
            subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)
            elsewhere = dict(np.load(tmp_path / "a.npz"))
            assert all(array.tobytes() == elsewhere[name].tobytes() for name, array in other.items())
    assert one["losses"][-1] < one["losses"][0] - 0.1


def test_another_seed_is_another_run() -> None:
    (one, losses), (other, other_losses) = train(run_config(seed=1), 3), train(run_config(seed=2), 3)
    assert losses[1:] != other_losses[1:]
    assert (one["embedding"] != other["embedding"]).any()


@compiles
@pytest.mark.parametrize("micro_batches", [1, 2])
def test_compiling_changes_nothing_but_rounding(micro_batches: int) -> None:
    config = replace(run_config(micro_batches=micro_batches), optimizer=OptimizerConfig(clip_norm=1.0))
    (one, losses), (other, other_losses) = train(config, 4, compiled=False), train(config, 4, compiled=True)
    np.testing.assert_allclose(losses, other_losses, rtol=1e-4)
    for name, array in one.items():
        # Muon turns rounding of vanishing gradients into steps of full length, so only most numbers agree.
        error = np.abs(array - other[name])
        assert np.mean(error <= 1e-3 * np.abs(array).max() + 1e-6) > 0.99, name


@on_a_cpu
@compiles
def test_a_cold_start_compiles_few_kernels() -> None:
    """Each costs g++ a quarter of a second or more at the first step on a machine, which must come within 15 s."""
    step = TrainingStep(preset_called("mini").config(), compiled=True)
    state = step.initial_state()
    batch = np.zeros((step.config.train.batch_size, step.config.model.context + 1), dtype=np.int32)
    state, loss = step(state, batch, 1.0, 0.9)
    text = io.StringIO()
    mx.export_to_dot(text, loss, *state.arrays())
    kinds = set(re.findall(r'label ="(Compiled\w*)"', text.getvalue()))
    assert 10 < len(kinds) <= 48


def test_bfloat16_trains() -> None:
    (half, losses), (_, exact_losses) = train(run_config(dtype="bfloat16"), 12), train(run_config(), 12)
    assert all(array.dtype == np.float32 for name, array in half.items() if name != "step")
    assert all(np.isfinite(array).all() for array in half.values())
    assert losses[-1] < losses[0] - 0.3
    assert_close(np.array(losses), np.array(exact_losses), "training losses", "bfloat16")


def test_stand_ins_are_handed_on() -> None:
    step = TrainingStep(CONFIG, compiled=False, stand_ins=StandIns(head=lambda hidden: hidden.sum(axis=-1)))
    assert to_float64(step.loss_and_gradients(PARAMETERS, random_batch())[1]["head"]).max() == 0


def test_implementations_are_those_of_a_part_of_the_batch_in_the_type_of_the_run() -> None:
    asked = step_implementations(run_config(implementation="attention=plain,muon=plain"))
    assert (asked.attention.reason, asked.muon.reason) == ("as asked", "as asked")
    assert step_implementations(run_config(dtype="bfloat16")).activation.implementation == "plain"
    without = replace(CONFIG, optimizer=OptimizerConfig(matrix_optimizer="adamw"))
    assert "no matrix" in step_implementations(without).muon.reason


def test_compilation_is_decided_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide_compilation(False) == (False, "as asked")
    monkeypatch.setattr(lanes, "why_not_compiled", lambda: "no g++")
    assert decide_compilation(True) == (False, "no g++; steps take longer")
    monkeypatch.setattr(lanes, "why_not_compiled", lambda: None)
    assert decide_compilation(True)[0]
