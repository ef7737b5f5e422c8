"""Layer 2: logits, losses and gradients of whole models, and their stages in lockstep."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig, RunConfig
from mlx_tiny.config.presets import STRONGEST, preset_called, presets_of
from mlx_tiny.model.forward import logits
from mlx_tiny.model.parameters import Parameters, parameter_specs
from mlx_tiny.ops.conformance import Result, to_float64
from mlx_tiny.ops.implementations import decide
from mlx_tiny.tolerances import bounds
from mlx_tiny.training.step import TrainingStep
from mlx_tiny.validate.lockstep import ReferenceRun, gradient_bounds, in_lockstep, run_reference
from mlx_tiny.validate.table import Comparison

LAYER = "model"

# Two sequences, so that two lanes compute one each; as many tokens as the largest preset computes in a few seconds.
SEQUENCES, TOKENS = 2, 128
PRESETS = tuple(preset.name for preset in presets_of(STRONGEST))
# A CPU is slow in bfloat16, and the larger presets contain nothing that the smaller ones lack.
_BFLOAT16_PRESETS = PRESETS[:3]
# What no preset has: a tied head, grouped queries, SwiGLU, and constants other than the defaults, so that code which
# ignores them fails.
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
class ModelCase:
    """A model with weights and a batch."""

    name: str
    config: RunConfig
    weights: Parameters
    batch: np.ndarray
    """Integers [B, T+1]."""

    @functools.cached_property
    def expected_run(self) -> ReferenceRun:
        """Results of the reference, computed once for all comparisons."""
        return run_reference(self.weights, self.config.model, self.batch)

    @property
    def title(self) -> str:
        B, positions = self.batch.shape
        return f"{self.name}, B{B} T{positions - 1}"


def preset_case(name: str) -> ModelCase:
    """A new model of a preset on random tokens."""
    return fresh_case(name, preset_called(name).config())


def tied_case() -> ModelCase:
    """A small model with everything that no preset has."""
    return fresh_case("tied", _TIED)


def fresh_case(name: str, config: RunConfig) -> ModelCase:
    """A new model on random tokens."""
    generator = np.random.default_rng(0)
    shape = (SEQUENCES, min(TOKENS, config.model.context) + 1)
    batch = generator.integers(0, config.model.vocabulary_size, shape, dtype=np.int32)
    return ModelCase(name, config, fresh_weights(config, generator), batch)


def fresh_weights(config: RunConfig, generator: np.random.Generator) -> Parameters:
    """Random weights with the std of a new model; parameters that start as constants are random too, to be tested."""
    weights = {}
    for name, spec in parameter_specs(config.model).items():
        values = generator.standard_normal(spec.shape)
        std = spec.std or spec.shape[-1] ** -0.5
        weights[name] = mx.array(1 + 0.3 * values if spec.start == 1 else std * values, dtype=mx.float32)
    return weights


def comparisons(run: ModelCase | None, presets: Sequence[str] = PRESETS) -> Iterator[Comparison]:
    """Comparisons of a small model with a tied head, of every preset, and of a run.

    Args:
        run: its weights and data; None leaves it out.
        presets: names.
    """
    yield from of_case(tied_case(), ("float32", "bfloat16"))
    for name in presets:
        yield from of_case(preset_case(name), ("float32", *(("bfloat16",) * (name in _BFLOAT16_PRESETS))))
    if run is not None:
        yield from of_case(run, tuple(dict.fromkeys(("float32", run.config.train.dtype))))


def of_case(case: ModelCase, dtypes: Sequence[str]) -> Iterator[Comparison]:
    for dtype in dtypes:
        for operation, run in (
            ("layers in lockstep", _lockstep),
            ("logits", _logits),
            ("training step", _step),
        ):
            if dtype == "float32" or run is not _logits:
                yield Comparison(LAYER, operation, case.title, dtype, functools.partial(run, case, dtype))


def _lockstep(case: ModelCase, dtype: str) -> list[Result]:
    return in_lockstep(case.weights, case.config.model, case.batch, case.expected_run, dtype=dtype)


def _logits(case: ModelCase, dtype: str) -> list[Result]:
    c, tokens = case.config.model, mx.array(case.batch[:, :-1])
    implementations = decide(replace(c, context=tokens.shape[1]), batch=len(tokens))
    got, _ = logits(case.weights, c, tokens, implementations)
    return [Result("logits", to_float64(got), case.expected_run.values["logits"], bounds("model", dtype))]


def _step(case: ModelCase, dtype: str) -> list[Result]:
    """Loss and gradients of a training step, computed from the whole batch and from two parts of it."""
    results, specs = list[Result](), parameter_specs(case.config.model)
    for parts in (1, 2):
        train = replace(case.config.train, dtype=dtype, batch_size=len(case.batch), micro_batches=parts)
        step = TrainingStep(replace(case.config, train=train), compiled=False)
        loss, gradients = step.loss_and_gradients(case.weights, case.batch)
        how = "" if parts == 1 else f" in {parts} parts"
        results.append(Result(f"loss{how}", to_float64(loss), case.expected_run.loss, bounds("model", dtype)))
        results += [
            Result(
                f"gradient of {name}{how}",
                to_float64(gradients[name]),
                expected,
                gradient_bounds(name, "model gradient", dtype, case.expected_run, specs[name].layers),
            )
            for name, expected in case.expected_run.gradients.items()
        ]
    return results
