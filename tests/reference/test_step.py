"""Training steps of MLX and PyTorch compared, and runs that change the backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_run import create_run, tiny_config, tiny_corpus

from mlx_tiny.config import RunConfig
from mlx_tiny.data.batches import BatchStream
from mlx_tiny.records import Progress
from mlx_tiny.reference.checkpoint import load_checkpoint, save_checkpoint
from mlx_tiny.reference.schedule import muon_momentum, rate_multiplier
from mlx_tiny.reference.step import TrainingState, initial_state, training_step
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.step import TrainingStep

from .alike import assert_alike, to_numpy

pytestmark = pytest.mark.torch
HALF = 20


class Both:
    """Batches and schedule of a run, and steps by MLX and by PyTorch from one checkpoint to the next."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.run = create_run(folder / "run", tiny_config(folder, **changes))
        config: RunConfig = self.run.config
        stream = BatchStream(
            tiny_corpus(config).train, batch_size=config.train.batch_size, context=config.model.context, seed=0
        )
        self.config, self.batches = config, [stream.next_batch() for _ in range(2 * HALF)]

    def at(self, step: int) -> tuple[np.ndarray, float, float]:
        """Batch, multiplier and momentum of a step."""
        fraction = step / len(self.batches)
        multiplier = rate_multiplier(self.config.schedule, fraction)
        return self.batches[step], multiplier, muon_momentum(self.config.optimizer, fraction)

    def by_mlx(self, run: RunFolder, steps: range) -> list[float]:
        take, losses = TrainingStep(self.config, compiled=False), []
        state = run.load_checkpoint("last")[0]
        for step in steps:
            state, loss = take(state, *self.at(step))
            losses.append(float(loss))
        run.save_checkpoint("last", state, Progress())
        return losses

    def by_torch(self, run: RunFolder, steps: range) -> list[float]:
        state, _ = load_checkpoint(run.checkpoint("last"), self.config, run.identity())
        losses = []
        for step in steps:
            state, loss = training_step(state, self.config, *self.at(step))
            losses.append(float(loss))
        save_checkpoint(run.checkpoint("last"), state, run.identity(), Progress())
        return losses

    def begin(self) -> RunFolder:
        """A run with a first checkpoint of new weights."""
        self.run.save_checkpoint("last", TrainingStep(self.config, compiled=False).initial_state(), Progress())
        return self.run


SETTINGS = {
    "muon": {},
    "quintic, clipped": {"optimizer": {"coefficients": "quintic", "clip_norm": 0.5}},
    "adamw, swiglu, tied": {
        "optimizer": {"matrix_optimizer": "adamw"},
        "model": {"activation": "swiglu", "tied": True},
    },
}


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_a_run_begun_with_either_backend_ends_with_either(tmp_path: Path, changes: dict) -> None:
    both = Both(tmp_path, **changes)
    first, second = range(HALF), range(HALF, 2 * HALF)
    losses = {}
    for one in (both.by_mlx, both.by_torch):
        begun = one(both.begin(), first)
        half_way = both.run.checkpoint("last").read_bytes()
        for other in (both.by_mlx, both.by_torch):
            both.run.checkpoint("last").write_bytes(half_way)
            losses[one.__name__, other.__name__] = begun + other(both.run, second)
    whole = losses.pop(("by_mlx", "by_mlx"))
    assert whole[-1] < whole[0] - 1
    end = np.mean(whole[-10:])
    for name, others in losses.items():
        assert_alike(np.divide(others[:20], whole[:20]), np.ones(20), "first losses", str(name))
        assert_alike(np.mean(others[-10:]), end, "end of a run", str(name))


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_one_step_of_mlx_and_the_reference(tmp_path: Path, micro_batches: int) -> None:
    both = Both(tmp_path, micro_batches=micro_batches)
    state = TrainingStep(both.config, compiled=False).initial_state()
    both.run.save_checkpoint("last", state, Progress())
    ours, _ = load_checkpoint(both.run.checkpoint("last"), both.config)
    batch, _, momentum = both.at(0)
    state, loss = TrainingStep(both.config, compiled=False)(state, batch, 1.0, momentum)
    ours, our_loss = training_step(ours, both.config, batch, 1.0, momentum)
    assert_alike(our_loss, loss, "both sides", "loss")
    for name, value in ours.optimizer.items():
        assert_alike(value, state.optimizer[name], "both sides' gradient", name)
    for name, weight in ours.parameters.items():
        assert_alike(weight, state.parameters[name], "Muon", name)


def test_a_step_leaves_the_old_state_as_it_is(tmp_path: Path) -> None:
    both = Both(tmp_path)
    state = initial_state(both.config)
    before = {name: to_numpy(value).copy() for name, value in {**state.parameters, **state.optimizer}.items()}
    new, _ = training_step(state, both.config, *both.at(30))
    for name, value in {**state.parameters, **state.optimizer}.items():
        np.testing.assert_array_equal(to_numpy(value), before[name])
    assert not torch.equal(new.parameters["head"], state.parameters["head"])


def test_types_of_a_step(tmp_path: Path) -> None:
    """The state keeps its dtype; activations have that of the run, unless the state is float64."""
    both = Both(tmp_path)
    half = replace(both.config, train=replace(both.config.train, dtype="bfloat16"))
    losses = {}
    for name, config, dtype in (
        ("float32", both.config, torch.float32),
        ("bfloat16", half, torch.float32),
        ("float64", half, torch.float64),
    ):
        state = initial_state(config, dtype=dtype)
        generator = torch.Generator().manual_seed(0)
        state.parameters["head"] += 0.1 * torch.randn(state.parameters["head"].shape, generator=generator)
        new, loss = training_step(TrainingState(state.parameters, state.optimizer), config, *both.at(0))
        assert all(weight.dtype == dtype for weight in new.parameters.values())
        losses[name] = float(loss)
    assert_alike(losses["float32"], losses["float64"], "model")
    assert_alike(losses["bfloat16"], losses["float64"], "model", dtype="bfloat16")
    assert abs(losses["bfloat16"] / losses["float64"] - 1) > 1e-6
