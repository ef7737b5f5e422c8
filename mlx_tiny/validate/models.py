"""Layer 2: scores, losses and gradients of whole models, and their stages in lockstep."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig, RunConfig
from mlx_tiny.model import forward as model
from mlx_tiny.model.forward import Parameters, parameter_specs
from mlx_tiny.study.plan import PRESETS
from mlx_tiny.tolerances import bounds
from mlx_tiny.training.step import TrainingStep
from mlx_tiny.validate.arrays import to_float64
from mlx_tiny.validate.lockstep import Passage, gradient_bounds, in_lockstep, pass_through
from mlx_tiny.validate.table import Comparison, Result

LAYER = "model"

# Two windows, so that two lanes share them; of the context as much as the time of the largest preset allows.
WINDOWS, TOKENS = 2, 128
# In bfloat16 a CPU is slow, and the smaller presets have all that the larger ones have.
_BFLOAT16_PRESETS = ("tiny", "mini", "small")
# What no preset has: a tied head, grouped queries, SwiGLU, and constants other than the defaults, which show when
# they are ignored.
_TIED = RunConfig(
    model=ModelConfig(
        vocabulary_size=256,
        context=64,
        layers=2,
        width=48,
        heads=4,
        key_value_heads=2,
        head_width=16,
        hidden=80,
        activation="swiglu",
        tied=True,
        rope_base=500.0,
        norm_epsilon=1e-3,
    )
)


@dataclass(frozen=True)
class Subject:
    """A model with weights and a batch."""

    name: str
    config: RunConfig
    weights: Parameters
    batch: np.ndarray
    """Integers [B, T+1]."""

    @functools.cached_property
    def passage(self) -> Passage:
        """What the reference computes; once for all comparisons."""
        return pass_through(self.weights, self.config.model, self.batch)

    @property
    def case(self) -> str:
        B, positions = self.batch.shape
        return f"{self.name}, B{B} T{positions - 1}"


def preset_subject(name: str) -> Subject:
    """A fresh model of a preset on random tokens."""
    return fresh_subject(name, PRESETS[name].config())


def tied_subject() -> Subject:
    """A small model with what no preset has."""
    return fresh_subject("tied", _TIED)


def fresh_subject(name: str, config: RunConfig) -> Subject:
    """A model on random tokens; what starts at zero is given numbers, since zeros prove nothing."""
    generator = np.random.default_rng(0)
    shape = (WINDOWS, min(TOKENS, config.model.context) + 1)
    batch = generator.integers(0, config.model.vocabulary_size, shape, dtype=np.int32)
    return Subject(name, config, fresh_weights(config, generator), batch)


def fresh_weights(config: RunConfig, generator: np.random.Generator) -> Parameters:
    """Weights of the deviations at the start of training, and of a sensible one where they start as constants."""
    weights = {}
    for name, spec in parameter_specs(config.model).items():
        values = generator.standard_normal(spec.shape)
        deviation = spec.deviation or spec.shape[-1] ** -0.5
        weights[name] = mx.array(1 + 0.3 * values if spec.kind == "scalar" else deviation * values, dtype=mx.float32)
    return weights


def comparisons(run: Subject | None, presets: Sequence[str] = tuple(PRESETS)) -> Iterator[Comparison]:
    """Those of a small model with a tied head, of every preset, and of a given run.

    Args:
        run: weights and data of a run, if there is one.
        presets: names.
    """
    yield from of_subject(tied_subject(), ("float32", "bfloat16"))
    for name in presets:
        yield from of_subject(preset_subject(name), ("float32", *(("bfloat16",) * (name in _BFLOAT16_PRESETS))))
    if run is not None:
        yield from of_subject(run, tuple(dict.fromkeys(("float32", run.config.train.dtype))))


def of_subject(subject: Subject, dtypes: Sequence[str]) -> Iterator[Comparison]:
    for dtype in dtypes:
        for operation, run in (
            ("layers in lockstep", _lockstep),
            ("logits", _logits),
            ("training step", _step),
        ):
            if dtype == "float32" or run is not _logits:
                yield Comparison(LAYER, operation, subject.case, dtype, functools.partial(run, subject, dtype))


def _lockstep(subject: Subject, dtype: str) -> list[Result]:
    return in_lockstep(subject.weights, subject.config.model, subject.batch, subject.passage, dtype=dtype)


def _logits(subject: Subject, dtype: str) -> list[Result]:
    got, _ = model.logits(subject.weights, subject.config.model, mx.array(subject.batch[:, :-1]))
    return [Result("logits", to_float64(got), subject.passage.values["logits"], bounds("model", dtype))]


def _step(subject: Subject, dtype: str) -> list[Result]:
    """What a training step computes before its update, in one part, and in two that are added up."""
    results, layers = list[Result](), range(subject.config.model.layers)
    for parts in (1, 2):
        train = replace(subject.config.train, dtype=dtype, batch_size=len(subject.batch), micro_batches=parts)
        step = TrainingStep(replace(subject.config, train=train), compiled=False)
        loss, gradients = step.loss_and_gradients(subject.weights, subject.batch)
        how = "" if parts == 1 else f" in {parts} parts"
        results.append(Result(f"loss{how}", to_float64(loss), subject.passage.loss, bounds("model", dtype)))
        results += [
            Result(
                f"gradient of {name}{how}",
                to_float64(gradients[name]),
                expected,
                gradient_bounds(name, "model gradient", dtype, subject.passage, layers),
            )
            for name, expected in subject.passage.gradients.items()
        ]
    return results
