"""Muon, AdamW and the schedule of MLX and PyTorch: twenty steps from equal states with equal gradients."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch
from numpy_model import CONFIGS, SMALL, to_mlx

from mlx_tiny.config import ModelConfig, OptimizerConfig, ScheduleConfig
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.ops.implementations import decide
from mlx_tiny.ops.muon import NEWTON_SCHULZ
from mlx_tiny.optim import schedule as mlx_schedule
from mlx_tiny.optim.optimizer import Optimizer, initial_state, muon_layout
from mlx_tiny.reference import optim, schedule

from .alike import assert_alike, to_numpy, to_torch

pytestmark = pytest.mark.torch
STEPS = 20
SETTINGS = {
    "polar express": {"coefficients": "polar_express"},
    "quintic": {"coefficients": "quintic"},
    "decayed": {"matrix_decay": 0.5, "adamw_decay": 0.3},
    "clipped": {"clip_norm": 0.05, "matrix_decay": 0.1},
    "seven steps": {"newton_schulz_steps": 7},
    "quintic, three steps": {"coefficients": "quintic", "newton_schulz_steps": 3},
    "large rate and epsilon": {"matrix_decay": 0.0, "matrix_rate": 0.1, "adam_epsilon": 1e-2},
    "other averages": {"adam_beta1": 0.0, "adam_beta2": 0.5},
    "AdamW": {"matrix_optimizer": "adamw", "adamw_decay": 0.5},
    "AdamW, clipped": {"matrix_optimizer": "adamw", "clip_norm": 0.05, "adam_beta1": 0.5},
    "AdamW, large epsilon": {"matrix_optimizer": "adamw", "adamw_decay": 0.5, "adam_epsilon": 1e-2},
    "AdamW, no averages": {"matrix_optimizer": "adamw", "adam_beta1": 0.0, "adam_beta2": 0.0},
}


def random_arrays(model: ModelConfig, generator: np.random.Generator, scale: float = 1.0) -> dict[str, np.ndarray]:
    return {
        name: (scale * generator.standard_normal(spec.shape)).astype(np.float32)
        for name, spec in parameter_specs(model).items()
    }


def follow(model: ModelConfig, config: OptimizerConfig, dtype: torch.dtype, scale: float = 1e-2) -> None:
    """Twenty steps of both, on random gradients with a constant part, with changing rate and momentum."""
    generator = np.random.default_rng(0)
    start, drift = random_arrays(model, generator), random_arrays(model, generator, scale)
    specs = parameter_specs(model)
    optimizer = Optimizer(config, specs, decide(model, muon=muon_layout(config, specs)).muon)
    weights, state = to_mlx(start), initial_state(config, specs)
    parameters = to_torch(start, dtype)
    own = optim.initialize(parameters, model, config)
    assert set(own) == set(state)
    for step in range(STEPS):
        noise = random_arrays(model, generator, scale)
        gradients = {name: drift[name] + noise[name] for name in noise}
        multiplier, momentum = (step + 1) / STEPS, 0.85 + 0.1 * step / STEPS
        weights, state = optimizer.update(weights, to_mlx(gradients), state, mx.array(multiplier), mx.array(momentum))
        mx.eval(weights, state)
        parameters, own = optim.update(parameters, to_torch(gradients, dtype), own, model, config, multiplier, momentum)
    assert int(own["step"]) == state["step"].item() == STEPS
    for name, weight in parameters.items():
        rule = "Muon" if name in optim.muon_parameters(model, config) else "AdamW"
        assert weight.dtype == dtype
        assert_alike(to_numpy(weights[name]) - start[name], to_numpy(weight) - start[name], rule, name)
    for name, value in own.items():
        assert_alike(state[name], value, "moment", name)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_mlx_and_the_reference_take_the_same_twenty_steps(settings: dict, dtype: torch.dtype) -> None:
    follow(CONFIGS["grouped"], OptimizerConfig(**settings), dtype)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
@pytest.mark.parametrize("name", CONFIGS)
def test_optimizers_agree_for_every_shape_of_model(name: str, kind: str) -> None:
    follow(CONFIGS[name], OptimizerConfig(matrix_optimizer=kind), torch.float32)


@pytest.mark.parametrize("scale", [1e-12, 1e6])
@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_the_scale_of_the_gradients_hardly_matters(kind: str, scale: float) -> None:
    follow(SMALL, OptimizerConfig(matrix_optimizer=kind), torch.float32, scale)


@pytest.mark.parametrize("coefficients", ["quintic", "polar_express"])
@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (1, 4), (8, 8)])
def test_orthogonal_matrices_of_mlx_and_the_reference(shape: tuple[int, int], coefficients: str) -> None:
    matrix = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    got = optim.orthogonalize(torch.from_numpy(matrix).double(), steps=5, coefficients=coefficients)
    other = NEWTON_SCHULZ("plain", mx.array(matrix)[None], steps=5, coefficients=coefficients)[0]
    assert_alike(to_numpy(other), got, "newton_schulz")
    values = np.linalg.svd(got.numpy(), compute_uv=False)
    assert 0.65 < values.min() <= values.max() < 1.25


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_newton_schulz_keeps_the_type_and_zero(dtype: torch.dtype) -> None:
    matrix = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    exact = optim.orthogonalize(matrix.double(), steps=5, coefficients="polar_express")
    got = optim.orthogonalize(matrix, steps=5, coefficients="polar_express")
    assert got.dtype == dtype and got.shape == matrix.shape
    # In bfloat16, which nothing of the reference asks for, its three terms of a step are rounded one by one.
    if dtype != torch.bfloat16:
        assert_alike(got, exact, "newton_schulz")
    assert not optim.orthogonalize(torch.zeros(3, 2, dtype=dtype), steps=5, coefficients="quintic").any()


@pytest.mark.parametrize("scale", [1e-22, 1e-30, 1e25])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    matrix = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    expected = optim.orthogonalize(matrix, steps=5, coefficients="polar_express")
    got = optim.orthogonalize(scale * matrix, steps=5, coefficients="polar_express")
    assert_alike(got, expected, "newton_schulz")


def test_matrices_of_a_bank_are_taken_one_by_one() -> None:
    bank = torch.arange(2 * 48 * 12.0).reshape(2, 48, 12)
    parts = list(optim.matrices(bank, (24, 12, 12)))
    assert [part.shape for part in parts] == [(24, 12), (12, 12), (12, 12)] * 2
    assert torch.equal(torch.cat(parts).reshape(bank.shape), bank)


def test_an_update_leaves_its_arguments_as_they_are() -> None:
    generator = np.random.default_rng(2)
    parameters, gradients = (to_torch(random_arrays(SMALL, generator)) for _ in range(2))
    state = optim.initialize(parameters, SMALL, OptimizerConfig())
    before = {name: weight.clone() for name, weight in {**parameters, **state}.items()}
    optim.update(parameters, gradients, state, SMALL, OptimizerConfig(), 1.0, 0.9)
    assert all(torch.equal(value, before[name]) for name, value in {**parameters, **state}.items())


FRACTIONS = [-0.1, 0.0, 0.001, 0.02999, 0.03, 0.1, 0.25, 0.5, 0.50001, 0.9, 0.999, 1.0, 1.2]


@pytest.mark.parametrize(
    "settings",
    [{}, {"warmup": 0.0}, {"cooldown": 0.0}, {"warmup": 0.4, "cooldown": 0.6, "floor": 0.2}, {"floor": 1.0}],
    ids=str,
)
def test_rates_of_mlx_and_the_reference(settings: dict) -> None:
    config = ScheduleConfig(**settings)
    for fraction in FRACTIONS:
        expected = mlx_schedule.rate_multiplier(config, fraction)
        assert_alike(schedule.rate_multiplier(config, fraction), expected, "schedule", str(fraction), "float64")


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
def test_momenta_of_mlx_and_the_reference(warmup: float) -> None:
    config = replace(OptimizerConfig(), momentum_warmup=warmup, momentum_start=0.6)
    for fraction in FRACTIONS:
        expected = mlx_schedule.muon_momentum(config, fraction)
        assert_alike(schedule.muon_momentum(config, fraction), expected, "schedule", str(fraction), "float64")
