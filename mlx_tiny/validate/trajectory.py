"""Layer 4: a short training by MLX and by the reference, from the same weights and batches."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch

from mlx_tiny.config import ModelConfig, OptimizerConfig, RunConfig, TrainConfig
from mlx_tiny.data.batches import BatchStream
from mlx_tiny.data.stories import StoryGrammar
from mlx_tiny.linux.lanes import on_cpu
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.conformance import Array, Result
from mlx_tiny.optim import schedule
from mlx_tiny.reference import optim as reference_optim
from mlx_tiny.reference import schedule as reference_schedule
from mlx_tiny.reference import step as reference_step
from mlx_tiny.tolerances import bounds
from mlx_tiny.tools.plots import picture
from mlx_tiny.training.step import TrainingState, TrainingStep, fresh_state
from mlx_tiny.validate.table import Comparison
from mlx_tiny.validate.tensors import as_torch

LAYER = "trajectory"
STEPS, FIRST_STEPS = 200, 20
_TEXT_BYTES = 80_000

# Its tokens are bytes, so that no tokenizer has to be trained. It has what no preset has: grouped queries, SwiGLU,
# clipping, and constants other than the defaults, so that code which ignores them fails. The rates are the defaults.
CONFIG = RunConfig(
    model=ModelConfig(
        vocabulary_size=256,
        context=64,
        layers=2,
        width=64,
        heads=4,
        key_value_heads=2,
        head_width=16,
        hidden=128,
        activation="swiglu",
        rope_base=500.0,
        norm_epsilon=1e-3,
    ),
    optimizer=OptimizerConfig(
        clip_norm=1.0,
        matrix_decay=0.1,
        adamw_decay=0.1,
        newton_schulz_steps=6,
        adam_beta1=0.8,
        adam_beta2=0.98,
        adam_epsilon=1e-8,
    ),
    train=TrainConfig(batch_size=8),
)


@dataclass(frozen=True)
class Curves:
    """Losses before each step by MLX and by the reference, and the final weights of MLX."""

    ours: Array
    reference: Array
    weights: Parameters


class Training:
    """A training by MLX and by the reference, which runs once, when its results are first needed.

    Args:
        steps: more than `FIRST_STEPS`.
    """

    def __init__(self, steps: int = STEPS) -> None:
        self.steps, self.config = steps, CONFIG
        # On a CPU, compiling a step by g++ takes longer than all steps.
        self.compiled = not on_cpu()

    @property
    def curves(self) -> Curves:
        """The losses of both. An error of the training is raised again each time, without another training."""
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    @property
    def broken(self) -> bool:
        """Whether there are no curves."""
        return isinstance(self._outcome, Exception)

    @functools.cached_property
    def _outcome(self) -> Curves | Exception:
        try:
            return self._trained()
        except Exception as error:  # shown in every row that needs the curves
            return error

    def _trained(self) -> Curves:
        train, start = self.config.train, fresh_state(self.config)
        batches = BatchStream(
            story_bytes(_TEXT_BYTES, seed=0), batch_size=train.batch_size, context=self.config.model.context, seed=0
        )
        taken = [batches.next_batch() for _ in range(self.steps)]
        ours, weights = self._by_mlx(start, taken)
        return Curves(np.array(ours), np.array(self._by_torch(start, taken)), weights)

    def _by_mlx(self, state: TrainingState, batches: list[np.ndarray]) -> tuple[list[float], Parameters]:
        take, losses = TrainingStep(self.config, compiled=self.compiled), []
        for number, batch in enumerate(batches):
            fraction = number / self.steps
            multiplier = schedule.rate_multiplier(self.config.schedule, fraction)
            state, loss = take(state, batch, multiplier, schedule.muon_momentum(self.config.optimizer, fraction))
            mx.eval(loss, state.arrays())
            losses.append(float(loss))
        return losses, state.parameters

    def _by_torch(self, start: TrainingState, batches: list[np.ndarray]) -> list[float]:
        parameters = as_torch(start.parameters, torch.float32)
        state = reference_step.TrainingState(
            parameters, reference_optim.initialize(parameters, self.config.model, self.config.optimizer)
        )
        losses = []
        for number, batch in enumerate(batches):
            fraction = number / self.steps
            multiplier = reference_schedule.rate_multiplier(self.config.schedule, fraction)
            momentum = reference_schedule.muon_momentum(self.config.optimizer, fraction)
            state, loss = reference_step.training_step(state, self.config, batch, multiplier, momentum)
            losses.append(float(loss))
        return losses

    def plot(self, path: Path) -> None:
        """Draw both curves and their relative difference as a PNG file; needs matplotlib."""
        ours, reference, steps = self.curves.ours, self.curves.reference, np.arange(1, self.steps + 1)
        with picture(path, nrows=2, sharex=True, figsize=(8, 6)) as (_, (above, below)):
            above.plot(steps, ours, label="mlx")
            above.plot(steps, reference, "--", label="torch")
            above.set(ylabel="nats per token")
            above.legend()
            below.semilogy(steps, np.maximum(np.abs(ours / reference - 1), 1e-9))
            below.set(xlabel="step", ylabel="relative difference")

    def comparisons(self) -> Iterator[Comparison]:
        """The first steps, and all of them."""
        m, compiled = self.config.model, "compiled" if self.compiled else "not compiled"
        case = f"L{m.layers} D{m.width} B{self.config.train.batch_size} T{m.context}, {compiled}"
        for steps, entry in {FIRST_STEPS: "first losses", self.steps: "losses"}.items():
            run = functools.partial(self._losses, steps, entry)
            yield Comparison(LAYER, f"losses of steps 1 to {steps}", case, "float32", run)

    def _losses(self, steps: int, entry: str) -> list[Result]:
        """The ratio of both losses at each step, which must be 1."""
        ratios = self.curves.ours[:steps] / self.curves.reference[:steps]
        allowed = bounds(entry, "float32")
        return [Result(f"step {step}", ratio, np.ones(()), allowed) for step, ratio in enumerate(ratios, 1)]


def story_bytes(count: int, *, seed: int) -> np.ndarray:
    """The first bytes of generated stories, as tokens, uint16 [count]."""
    text = bytearray()
    for story in StoryGrammar().stories(seed):
        text += story.text.encode() + b"\n\n"
        if len(text) >= count:
            return np.frombuffer(bytes(text[:count]), dtype=np.uint8).astype(np.uint16)
    raise AssertionError("the stream of stories has no end")
