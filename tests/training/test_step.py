"""A step is the same however it is cut: into micro-batches, over lanes, compiled or not."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from numeric import assert_close, to_float64
from numpy_model import random_parameters
from tiny_run import MODEL, subprocess_environment

from mlx_tiny.config import OptimizerConfig, RunConfig, TrainConfig
from mlx_tiny.linux.lanes import decide_compilation
from mlx_tiny.model.forward import token_losses
from mlx_tiny.study.plan import PRESETS
from mlx_tiny.training.step import TrainingStep

BATCH = 8
CONFIG = RunConfig(model=MODEL, train=TrainConfig(batch_size=BATCH))


def run_config(**train: object) -> RunConfig:
    return replace(CONFIG, train=replace(CONFIG.train, **train))


def random_batch(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, MODEL.vocabulary_size, (BATCH, MODEL.context + 1)).astype(np.int32)


def parameters() -> dict[str, mx.array]:
    return {name: mx.array(array.astype(np.float32)) for name, array in random_parameters(MODEL).items()}


def simple_loss_and_gradients(weights: dict[str, mx.array], batch: np.ndarray) -> tuple[mx.array, dict]:
    inputs, targets = mx.array(batch[:, :-1]), mx.array(batch[:, 1:])
    return mx.value_and_grad(lambda p: token_losses(p, MODEL, inputs, targets).mean())(weights)


def train(config: RunConfig, steps: int, compiled: bool = False) -> tuple[dict[str, np.ndarray], list[float]]:
    step = TrainingStep(config, compiled=compiled)
    state, losses = step.initial_state(), []
    for number in range(steps):
        state, loss = step(state, random_batch(number % 3), (number + 1) / steps, 0.9)
        losses.append(loss.item())
    return {name: np.array(array) for name, array in {**state.parameters, **state.optimizer}.items()}, losses


@pytest.mark.parametrize("micro_batches", [1, 2, 4, 8])
def test_micro_batches_change_nothing(micro_batches: int) -> None:
    weights, batch = parameters(), random_batch()
    step = TrainingStep(run_config(micro_batches=micro_batches), compiled=False)
    loss, gradients = step.loss_and_gradients(weights, batch)
    expected_loss, expected = simple_loss_and_gradients(weights, batch)
    assert_close(loss, to_float64(expected_loss), "parts of a batch", "float32")
    assert list(gradients) == list(weights)
    for name, gradient in expected.items():
        assert_close(gradients[name], to_float64(gradient), "parts of a batch", "float32", name)


@pytest.mark.parametrize("micro_batches", [1, 4])
def test_the_step_reports_the_loss_before_its_update(micro_batches: int) -> None:
    step = TrainingStep(run_config(micro_batches=micro_batches), compiled=False)
    state = step.initial_state()
    state.parameters = parameters()
    before = {name: np.array(array) for name, array in state.parameters.items()}
    new, loss = step(state, random_batch(), 1.0, 0.9)
    assert_close(loss, to_float64(simple_loss_and_gradients(parameters(), random_batch())[0]), "model", "float32")
    assert all((np.array(new.parameters[name]) != array).any() for name, array in before.items())
    for name, array in before.items():
        np.testing.assert_array_equal(np.array(state.parameters[name]), array)


def test_the_whole_step_is_gradients_and_update() -> None:
    step = TrainingStep(CONFIG, compiled=False)
    state = step.initial_state()
    new, loss = step(state, random_batch(), 0.5, 0.9)
    other_loss, gradients = step.loss_and_gradients(state.parameters, random_batch())
    other, optimizer = step.optimizer.update(state.parameters, gradients, state.optimizer, mx.array(0.5), mx.array(0.9))
    assert loss.item() == other_loss.item()
    for got, expected in ((new.parameters, other), (new.optimizer, optimizer)):
        for name, array in expected.items():
            np.testing.assert_array_equal(np.array(got[name]), np.array(array))


LANES = """
import sys
import numpy as np
from test_step import BATCH, parameters, random_batch, run_config, train
from mlx_tiny.linux.lanes import lanes, shares
from mlx_tiny.training.step import TrainingStep

loss, gradients = TrainingStep(run_config(), compiled=False).loss_and_gradients(parameters(), random_batch())
state, losses = train(run_config(), 6)
arrays = {f"gradient.{name}": np.array(array) for name, array in gradients.items()}
arrays |= {f"state.{name}": array for name, array in state.items()}
np.savez(sys.argv[1], loss=np.array(loss), losses=losses, lanes=[len(lanes()), len(shares(BATCH))], **arrays)
"""


@pytest.fixture(scope="module")
def by_lanes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """The same steps in processes of several numbers of lanes, two and five of them twice; five do not divide eight."""
    folder = tmp_path_factory.mktemp("lanes")
    results = {}
    for name in ("1", "2", "2 again", "5", "5 again", "16"):
        path = folder / f"{name}.npz"
        done = subprocess.run(
            [sys.executable, "-c", LANES, str(path)],
            env=subprocess_environment(MLX_TINY_LANES=name.split()[0]),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        results[name] = dict(np.load(path))
    return results


on_a_cpu = pytest.mark.skipif(mx.default_device().type != mx.cpu, reason="a GPU has one lane")


@on_a_cpu
def test_lanes_are_as_many_as_asked_and_share_the_batch(by_lanes) -> None:
    found = {name: list(result["lanes"]) for name, result in by_lanes.items()}
    assert found == {"1": [1, 1], "2": [2, 2], "2 again": [2, 2], "5": [5, 5], "5 again": [5, 5], "16": [16, 8]}


@on_a_cpu
@pytest.mark.parametrize("lanes", ["2", "5", "16"])
def test_lanes_change_nothing_but_rounding(by_lanes, lanes: str) -> None:
    one, other = by_lanes["1"], by_lanes[lanes]
    assert_close(other["loss"], one["loss"], "parts of a batch", "float32")
    for name in (name for name in one if name.startswith("gradient.")):
        assert_close(other[name], one[name], "parts of a batch", "float32", name)
    np.testing.assert_allclose(other["losses"], one["losses"], rtol=1e-4)
    assert one["losses"][-1] < one["losses"][0] - 0.1


@on_a_cpu
@pytest.mark.parametrize("lanes", ["2", "5"])
def test_the_same_seed_and_lanes_give_the_same_bits(by_lanes, lanes: str) -> None:
    one, other = by_lanes[lanes], by_lanes[f"{lanes} again"]
    assert set(one) == set(other)
    for name, array in one.items():
        assert array.tobytes() == other[name].tobytes(), name


def test_another_seed_is_another_run() -> None:
    (one, losses), (other, other_losses) = train(run_config(seed=1), 3), train(run_config(seed=2), 3)
    assert losses[1:] != other_losses[1:]
    assert (one["embedding"] != other["embedding"]).any()


@pytest.mark.skipif(shutil.which("g++") is None, reason="MLX compiles CPU graphs with g++, which is absent")
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
@pytest.mark.skipif(shutil.which("g++") is None, reason="MLX compiles CPU graphs with g++, which is absent")
def test_a_cold_start_compiles_few_kernels() -> None:
    """Each costs g++ a quarter of a second or more at the first step on a machine, which is to come within 15 s."""
    step = TrainingStep(PRESETS["mini"].config(), compiled=True)
    state = step.initial_state()
    batch = np.zeros((step.config.train.batch_size, step.config.model.context + 1), dtype=np.int32)
    state, loss = step(state, batch, 1.0, 0.9)
    text = io.StringIO()
    mx.export_to_dot(text, loss, *state.arrays())
    kinds = set(re.findall(r'label ="(Compiled\w*)"', text.getvalue()))
    assert 10 < len(kinds) <= 40


def test_bfloat16_trains() -> None:
    (half, losses), (_, exact_losses) = train(run_config(dtype="bfloat16"), 12), train(run_config(), 12)
    assert all(array.dtype == np.float32 for name, array in half.items() if name != "step")
    assert all(np.isfinite(array).all() for array in half.values())
    assert losses[-1] < losses[0] - 0.3
    assert_close(np.array(losses), np.array(exact_losses), "training losses", "bfloat16")


def test_compilation_is_decided_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decide_compilation(False) == (False, "as asked")
    monkeypatch.setattr("mlx_tiny.linux.lanes.why_not_compiled", lambda: "no g++")
    assert decide_compilation(True) == (False, "no g++; steps take longer")
    monkeypatch.setattr("mlx_tiny.linux.lanes.why_not_compiled", lambda: None)
    assert decide_compilation(True)[0]
