"""Muon by banks, clipping, decay, kernels, and which parameters each optimizer trains.

`reference/test_optim.py` and `validate/test_optimizers.py` compare both optimizers with other implementations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import mlx.core as mx
import numpy as np
import pytest
from numeric import able_to_run, assert_close, to_float64
from numpy_model import CONFIGS, SMALL, to_mlx

from mlx_tiny.config import ModelConfig, OptimizerConfig
from mlx_tiny.linux.lanes import one_lane
from mlx_tiny.model.parameters import parameter_count, parameter_specs
from mlx_tiny.model.spec import ParameterSpec
from mlx_tiny.ops.implementations import Choice
from mlx_tiny.ops.muon import MUON, NEWTON_SCHULZ
from mlx_tiny.optim.optimizer import Optimizer, State, clipped, global_norm, initial_state, muon_parameters

BOTH = pytest.mark.parametrize("kind", ["muon", "adamw"])
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
Arrays = dict[str, np.ndarray]


def start(config: OptimizerConfig, model: ModelConfig, muon: str = "plain") -> tuple[Optimizer, State]:
    specs = parameter_specs(model)
    return Optimizer(config, specs, Choice(MUON, muon, "as asked")), initial_state(config, specs)


def random_arrays(model: ModelConfig, generator: np.random.Generator, scale: float = 1.0) -> Arrays:
    return {
        name: (scale * generator.standard_normal(spec.shape)).astype(np.float32).astype(np.float64)
        for name, spec in parameter_specs(model).items()
    }


def matrices(bank: np.ndarray, spec: ParameterSpec) -> Iterator[tuple[tuple[int, slice], np.ndarray]]:
    """Every matrix of a parameter with its layer and rows."""
    ends = np.cumsum(spec.blocks)
    assert ends[-1] == bank.shape[1], "the blocks make up the parameter"
    for layer in range(len(bank)):
        for end, rows in zip(ends, spec.blocks, strict=True):
            yield (layer, slice(end - rows, end)), bank[layer, end - rows : end]


def one_at_a_time(model: ModelConfig, config: OptimizerConfig, weights: dict, gradients: dict, state: State) -> tuple:
    """Muon's step for one matrix at a time, in the float32 operations of version 0.1: new weights and momenta."""
    rate, momentum = mx.array(0.7) * config.matrix_rate, mx.array(0.9)
    keep, changed, averages = 1 - rate * config.matrix_decay, {}, {}
    for name, spec in parameter_specs(model).items():
        if not spec.blocks:
            continue
        averages[name] = momentum * state[f"momentum.{name}"] + (1 - momentum) * gradients[name]
        ahead = momentum * averages[name] + (1 - momentum) * gradients[name]
        directions = np.zeros(spec.shape, np.float32)
        for place, matrix in matrices(np.array(ahead), spec):
            rows, columns = matrix.shape
            wide = matrix.T if rows > columns else matrix
            settings = {"steps": config.newton_schulz_steps, "coefficients": config.coefficients}
            # Twice, since MLX adds up a bank of one matrix in another order.
            direction = NEWTON_SCHULZ("plain", mx.array(np.stack([wide, wide])), **settings)[0]
            scaled = np.array(direction * math.sqrt(max(1.0, rows / columns)))
            directions[place] = scaled.T if rows > columns else scaled
        changed[name] = keep * weights[name] - rate * mx.array(directions)
    return changed, averages


@each_config
@pytest.mark.parametrize("coefficients", ["polar_express", "quintic"])
def test_banks_change_no_momentum_and_weights_by_a_unit_in_the_last_place(
    config: ModelConfig, coefficients: str
) -> None:
    optimizer_config = OptimizerConfig(coefficients=coefficients, matrix_decay=0.1)
    optimizer, state = start(optimizer_config, config)
    generator = np.random.default_rng(1)
    weights = to_mlx(random_arrays(config, generator))
    for _ in range(3):
        gradients = to_mlx(random_arrays(config, generator))
        before = weights
        with one_lane():  # of which several would cut small banks into single matrices
            expected, momenta = one_at_a_time(config, optimizer_config, weights, gradients, state)
            weights, state = optimizer.update(weights, gradients, state, mx.array(0.7), mx.array(0.9))
        for name, array in expected.items():
            np.testing.assert_array_equal(np.array(state[f"momentum.{name}"]), np.array(momenta[name]))
            # Of the weight, and of its change, whose two factors are multiplied in another order.
            old, new = np.array(before[name]), np.array(array)
            units = np.spacing(np.maximum(abs(old), abs(new))) + np.spacing(abs(old - new))
            assert (abs(np.array(weights[name]) - new) <= units).all(), name


@each_config
def test_every_parameter_belongs_to_one_optimizer(config: ModelConfig) -> None:
    specs = parameter_specs(config)
    muon = muon_parameters(OptimizerConfig(), specs)
    assert muon == ["query_key_value", "attention_output", "mlp_input", "mlp_output"]
    assert muon_parameters(OptimizerConfig(matrix_optimizer="adamw"), specs) == []
    for kind, owned in (("muon", muon), ("adamw", [])):
        state = start(OptimizerConfig(matrix_optimizer=kind), config)[1]
        moments = {name: ["momentum"] if name in owned else ["first", "second"] for name in specs}
        assert set(state) == {"step", *(f"{moment}.{name}" for name, own in moments.items() for moment in own)}
        for key, array in state.items():
            assert not mx.any(array)
            assert key == "step" or (array.shape, array.dtype) == (specs[key.partition(".")[2]].shape, mx.float32)
    assert sum(spec.size for spec in specs.values()) == parameter_count(config)


def test_the_global_norm_is_euclidean() -> None:
    arrays = random_arrays(SMALL, np.random.default_rng(2))
    expected = np.sqrt(sum((array**2).sum() for array in arrays.values()))
    assert global_norm(to_mlx(arrays)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("largest", [1e-3, 1.0, 7.0])
def test_clipping_bounds_the_norm_and_keeps_the_direction(largest: float) -> None:
    arrays = random_arrays(SMALL, np.random.default_rng(3))
    got = clipped(to_mlx(arrays), largest)
    assert global_norm(got).item() == pytest.approx(largest, rel=1e-5)
    norm = np.sqrt(sum((array**2).sum() for array in arrays.values()))
    unclipped = clipped(to_mlx(arrays), 1.01 * norm)
    for name, array in arrays.items():
        np.testing.assert_allclose(to_float64(got[name]), array * largest / norm, rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(to_float64(unclipped[name]), array)


@BOTH
def test_the_setting_clips_before_the_moments(kind: str) -> None:
    generator, scalars = np.random.default_rng(4), (mx.array(1.0), mx.array(0.9))
    weights, gradients = (to_mlx(random_arrays(SMALL, generator)) for _ in range(2))
    clipping, state = start(OptimizerConfig(matrix_optimizer=kind, clip_norm=0.25), SMALL)
    plain, _ = start(OptimizerConfig(matrix_optimizer=kind), SMALL)
    got = clipping.update(weights, gradients, state, *scalars)
    expected = plain.update(weights, clipped(gradients, 0.25), state, *scalars)
    for got_arrays, arrays in zip(got, expected, strict=True):
        for name, array in arrays.items():
            np.testing.assert_array_equal(to_float64(got_arrays[name]), to_float64(array))


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@BOTH
def test_zero_gradients_only_decay(kind: str, clip_norm: float) -> None:
    config = OptimizerConfig(matrix_optimizer=kind, clip_norm=clip_norm, matrix_decay=0.5, adamw_decay=0.25)
    optimizer, state = start(config, SMALL)
    exact = random_arrays(SMALL, np.random.default_rng(5))
    weights = to_mlx(exact)
    zeros = {name: mx.zeros_like(array) for name, array in weights.items()}
    for _ in range(3):
        weights, state = optimizer.update(weights, zeros, state, mx.array(1.0), mx.array(0.9))
    hidden = config.matrix_rate * 0.5 if kind == "muon" else config.matrix_adamw_rate * 0.25
    rates = {"embedding": config.embedding_rate * 0.25, "head": config.head_rate * 0.25}
    for name, spec in parameter_specs(SMALL).items():
        decay = rates.get(name, hidden if spec.blocks else 0.0)
        np.testing.assert_allclose(to_float64(weights[name]), exact[name] * (1 - decay) ** 3, rtol=1e-6)


@BOTH
def test_a_rate_of_zero_changes_no_weight(kind: str) -> None:
    optimizer, state = start(OptimizerConfig(matrix_optimizer=kind), SMALL)
    generator = np.random.default_rng(6)
    exact, gradients = (random_arrays(SMALL, generator) for _ in range(2))
    weights, state = optimizer.update(to_mlx(exact), to_mlx(gradients), state, mx.array(0.0), mx.array(0.9))
    for name, array in exact.items():
        np.testing.assert_array_equal(to_float64(weights[name]), array)
    assert mx.any(state["first.embedding"]).item()


@pytest.mark.parametrize("name", ["relu2", "grouped", "odd sizes"])
def test_the_kernels_update_as_the_plain_path_does(name: str) -> None:
    """Three steps: equal parameters and state, with equal names and shapes."""
    model, config = CONFIGS[name], OptimizerConfig(matrix_decay=0.5, clip_norm=1.0)
    generator = np.random.default_rng(8)
    exact = random_arrays(model, generator)
    with able_to_run("metal"):
        optimizers = [start(config, model, muon)[0] for muon in ("plain", "metal")]
        results = [(to_mlx(exact), initial_state(config, parameter_specs(model)))] * 2
        for _ in range(3):
            gradients = to_mlx(random_arrays(model, generator))
            results = [
                optimizer.update(weights, gradients, state, mx.array(1.0), mx.array(0.9))
                for optimizer, (weights, state) in zip(optimizers, results, strict=True)
            ]
        mx.eval(results)
    for expected, got in zip(*results, strict=True):
        assert list(got) == list(expected)
        for key, array in expected.items():
            assert got[key].shape == array.shape and got[key].dtype == array.dtype
            before = exact.get(key, np.zeros(array.shape))
            assert_close(to_float64(got[key]) - before, to_float64(array) - before, "Muon", "float32", key)


def test_without_hidden_matrices_the_kernels_have_nothing_to_do() -> None:
    weights = to_mlx(random_arrays(SMALL, np.random.default_rng(10)))
    with able_to_run("metal") as launches:
        optimizer, state = start(OptimizerConfig(matrix_optimizer="adamw"), SMALL, "metal")
        mx.eval(optimizer.update(weights, weights, state, mx.array(1.0), mx.array(0.9)))
    assert not launches
