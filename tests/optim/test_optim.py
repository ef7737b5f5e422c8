"""Muon and AdamW against float64 textbooks, and who belongs to whom."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal
from mlx.optimizers import Muon
from numeric import assert_close, to_float64
from test_model import CONFIGS, SMALL

from mlx_tiny.config import ModelConfig, OptimizerConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import shares
from mlx_tiny.model.parameters import parameter_count, parameter_specs
from mlx_tiny.ops import muon_pack, newton_schulz
from mlx_tiny.optim.optimizer import Optimizer, clipped, global_norm, groups, over_banks
from mlx_tiny.optim.schedule import muon_momentum

STEPS = 20
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


class Textbook:
    """Both optimizers in float64, one matrix at a time."""

    def __init__(self, config: OptimizerConfig, model: ModelConfig) -> None:
        self.config, self.specs, self.step = config, parameter_specs(model), 0
        self.first = {name: np.zeros(spec.shape) for name, spec in self.specs.items()}
        self.second = {name: np.zeros(spec.shape) for name, spec in self.specs.items()}

    def update(self, weights: dict, gradients: dict, multiplier: float, momentum: float) -> dict:
        self.step += 1
        return {
            name: self.muon(name, weights[name], gradients[name], multiplier, momentum)
            if spec.kind == "matrix" and self.config.matrix_optimizer == "muon"
            else self.adamw(name, spec.kind, weights[name], gradients[name], multiplier)
            for name, spec in self.specs.items()
        }

    def adamw(self, name: str, kind: str, weight: np.ndarray, gradient: np.ndarray, multiplier: float) -> np.ndarray:
        c = self.config
        rates = {
            "embedding": c.embedding_rate,
            "head": c.head_rate,
            "scalar": c.scalar_rate,
            "matrix": c.matrix_adamw_rate,
        }
        rate = multiplier * rates[kind]
        self.first[name] = c.adam_beta1 * self.first[name] + (1 - c.adam_beta1) * gradient
        self.second[name] = c.adam_beta2 * self.second[name] + (1 - c.adam_beta2) * gradient**2
        first = self.first[name] / (1 - c.adam_beta1**self.step)
        second = self.second[name] / (1 - c.adam_beta2**self.step)
        decay = 0.0 if kind == "scalar" else c.adamw_decay
        return weight - rate * decay * weight - rate * first / (np.sqrt(second) + c.adam_epsilon)

    def muon(self, name: str, weight: np.ndarray, gradient: np.ndarray, multiplier: float, momentum: float):
        c = self.config
        self.first[name] = momentum * self.first[name] + (1 - momentum) * gradient
        ahead = momentum * self.first[name] + (1 - momentum) * gradient
        new = np.zeros_like(weight)
        for layer in range(len(weight)):
            start = 0
            for rows in self.specs[name].blocks:
                part = (layer, slice(start, start + rows))
                scale = np.sqrt(max(1.0, rows / weight.shape[2]))
                rate = multiplier * c.matrix_rate
                new[part] = (1 - rate * c.matrix_decay) * weight[part] - rate * scale * self.direction(ahead[part])
                start += rows
            assert start == weight.shape[1], "the blocks make up the bank"
        return new

    def direction(self, matrix: np.ndarray) -> np.ndarray:
        quintic = self.config.coefficients == "quintic"
        tall = matrix.shape[0] > matrix.shape[1]
        x = matrix.T if tall else matrix
        x = x / np.linalg.norm(x) / (1.0 if quintic else 1.01)
        for step in range(self.config.newton_schulz_steps):
            a, b, c = (3.4445, -4.7750, 2.0315) if quintic else newton_schulz._POLAR_EXPRESS[min(step, 4)]
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.T if tall else x


def random_arrays(model: ModelConfig, generator: np.random.Generator, scale: float = 1.0) -> dict[str, np.ndarray]:
    return {
        name: (scale * generator.standard_normal(spec.shape)).astype(np.float32).astype(np.float64)
        for name, spec in parameter_specs(model).items()
    }


def to_mlx(arrays: dict[str, np.ndarray]) -> dict[str, mx.array]:
    return {name: mx.array(array.astype(np.float32)) for name, array in arrays.items()}


def follow(model: ModelConfig, config: OptimizerConfig, gradient_scale: float = 1e-2) -> None:
    """Twenty steps of both, on gradients with a drift, under a changing rate and momentum."""
    generator = np.random.default_rng(0)
    exact, drift = random_arrays(model, generator), random_arrays(model, generator, gradient_scale)
    optimizer, textbook = Optimizer(config, parameter_specs(model)), Textbook(config, model)
    weights, state, start = to_mlx(exact), optimizer.initialize(), exact
    for step in range(STEPS):
        noise = random_arrays(model, generator, gradient_scale)
        gradients = {name: (drift[name] + noise[name]).astype(np.float32).astype(np.float64) for name in noise}
        multiplier, momentum = (step + 1) / STEPS, muon_momentum(replace(config, momentum_warmup=0.5), step / STEPS)
        exact = textbook.update(exact, gradients, multiplier, momentum)
        weights, state = optimizer.update(weights, to_mlx(gradients), state, mx.array(multiplier), mx.array(momentum))
        mx.eval(weights, state)
    assert state["step"].item() == STEPS
    operation = "Muon" if config.matrix_optimizer == "muon" else "AdamW"
    for name, spec in parameter_specs(model).items():
        rule = operation if spec.kind == "matrix" else "AdamW"
        change = exact[name] - start[name]
        assert_close(to_float64(weights[name]) - start[name], change, rule, "float32", name)


@each_config
def test_muon_is_the_textbook_s(config: ModelConfig) -> None:
    follow(config, OptimizerConfig(matrix_decay=0.5, adamw_decay=0.3))


@pytest.mark.parametrize(
    "settings",
    [
        {"coefficients": "quintic"},
        {"newton_schulz_steps": 3},
        {"matrix_decay": 0.0, "matrix_rate": 0.1},
        {"adam_epsilon": 1e-2},
        {"adam_beta1": 0.0, "adam_beta2": 0.5},
    ],
    ids=str,
)
def test_muon_under_other_settings(settings: dict) -> None:
    follow(CONFIGS["grouped"], OptimizerConfig(**settings))


@pytest.mark.parametrize(
    "settings", [{}, {"adamw_decay": 0.5}, {"adam_epsilon": 1e-2}, {"adam_beta1": 0.0}, {"adam_beta2": 0.0}], ids=str
)
@pytest.mark.parametrize("name", ["relu2", "grouped", "tied"])
def test_adamw_is_the_textbook_s(name: str, settings: dict) -> None:
    follow(CONFIGS[name], OptimizerConfig(matrix_optimizer="adamw", **settings))


@pytest.mark.parametrize("scale", [1e-12, 1e6])
@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_the_scale_of_the_gradients_hardly_matters(kind: str, scale: float) -> None:
    follow(SMALL, OptimizerConfig(matrix_optimizer=kind), gradient_scale=scale)


@each_config
def test_every_parameter_belongs_to_one_group(config: ModelConfig) -> None:
    specs = parameter_specs(config)
    members = [name for names in groups(specs).values() for name in names]
    assert sorted(members) == sorted(specs)
    assert sum(specs[name].size for name in members) == parameter_count(config)
    assert all(sum(specs[name].blocks) == specs[name].shape[1] for name in groups(specs)["matrix"])
    assert groups(specs)["matrix"] == ["query_key_value", "attention_output", "mlp_input", "mlp_output"]
    assert groups(specs)["head"] == ([] if config.tied else ["head"])


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_the_state_holds_what_each_rule_needs(kind: str) -> None:
    specs = parameter_specs(SMALL)
    state = Optimizer(OptimizerConfig(matrix_optimizer=kind), specs).initialize()
    moments = {name: 1 if kind == "muon" and spec.kind == "matrix" else 2 for name, spec in specs.items()}
    assert len(state) == 1 + sum(moments.values())
    for name, count in moments.items():
        own = [array for key, array in state.items() if key.partition(".")[2] == name]
        assert len(own) == count and all(array.shape == specs[name].shape for array in own)
        assert all(array.dtype == mx.float32 and not mx.any(array) for array in own)


@each_config
def test_banks_come_back_in_their_places(config: ModelConfig) -> None:
    specs = {name: spec for name, spec in parameter_specs(config).items() if spec.kind == "matrix"}
    arrays = random_arrays(config, np.random.default_rng(1))
    shapes = []

    def remember(bank: mx.array) -> mx.array:
        shapes.append(bank.shape)
        return bank

    result = over_banks({name: array for name, array in to_mlx(arrays).items() if name in specs}, specs, remember)
    assert list(result) == list(specs)
    for name, spec in specs.items():
        start, got = 0, to_float64(result[name])
        for rows in spec.blocks:
            part = np.s_[:, start : start + rows]
            scale = np.float32(np.sqrt(max(1.0, rows / spec.shape[2])))
            np.testing.assert_allclose(got[part], arrays[name][part] * scale, rtol=1e-7)
            start += rows
    sizes = {shape[1:]: sum(other[0] for other in shapes if other[1:] == shape[1:]) for shape in shapes}
    parts = sum(len(shares(size)) for size in sizes.values())
    assert len(shapes) == parts, "equal shapes are one bank, of which each lane has a part"
    assert all(short <= long for _, short, long in shapes)
    assert sum(np.prod(shape) for shape in shapes) == sum(spec.size for spec in specs.values())


def test_the_global_norm_is_euclid_s() -> None:
    arrays = random_arrays(SMALL, np.random.default_rng(2))
    expected = np.sqrt(sum((array**2).sum() for array in arrays.values()))
    assert global_norm(to_mlx(arrays)).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("largest", [1e-3, 0.5, 1.0, 7.0])
def test_clipping_bounds_the_norm_and_keeps_the_direction(largest: float) -> None:
    arrays = random_arrays(SMALL, np.random.default_rng(3))
    got = clipped(to_mlx(arrays), largest)
    assert global_norm(got).item() == pytest.approx(largest, rel=1e-5)
    norm = np.sqrt(sum((array**2).sum() for array in arrays.values()))
    for name, array in arrays.items():
        np.testing.assert_allclose(to_float64(got[name]), array * largest / norm, rtol=1e-5, atol=1e-9)
    unclipped = clipped(to_mlx(arrays), 1.01 * norm)
    for name, array in arrays.items():
        np.testing.assert_array_equal(to_float64(unclipped[name]), array)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_the_setting_clips_before_the_moments(kind: str) -> None:
    specs = parameter_specs(SMALL)
    generator = np.random.default_rng(4)
    weights, gradients = (to_mlx(random_arrays(SMALL, generator)) for _ in range(2))
    scalars = mx.array(1.0), mx.array(0.9)
    clipping = Optimizer(OptimizerConfig(matrix_optimizer=kind, clip_norm=0.25), specs)
    plain = Optimizer(OptimizerConfig(matrix_optimizer=kind), specs)
    got, got_state = clipping.update(weights, gradients, clipping.initialize(), *scalars)
    expected, state = plain.update(weights, clipped(gradients, 0.25), plain.initialize(), *scalars)
    for got_arrays, arrays in ((got, expected), (got_state, state)):
        for name, array in arrays.items():
            np.testing.assert_array_equal(to_float64(got_arrays[name]), to_float64(array))


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_zero_gradients_only_decay(kind: str, clip_norm: float) -> None:
    config = OptimizerConfig(matrix_optimizer=kind, clip_norm=clip_norm, matrix_decay=0.5, adamw_decay=0.25)
    specs = parameter_specs(SMALL)
    optimizer = Optimizer(config, specs)
    exact = random_arrays(SMALL, np.random.default_rng(5))
    weights, state = to_mlx(exact), optimizer.initialize()
    zeros = {name: mx.zeros_like(array) for name, array in weights.items()}
    for _ in range(3):
        weights, state = optimizer.update(weights, zeros, state, mx.array(1.0), mx.array(0.9))
    rates = {
        "matrix": config.matrix_rate * 0.5 if kind == "muon" else config.matrix_adamw_rate * 0.25,
        "embedding": config.embedding_rate * 0.25,
        "head": config.head_rate * 0.25,
        "scalar": 0.0,
    }
    for name, spec in specs.items():
        np.testing.assert_allclose(to_float64(weights[name]), exact[name] * (1 - rates[spec.kind]) ** 3, rtol=1e-6)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_a_rate_of_zero_changes_no_weight(kind: str) -> None:
    specs = parameter_specs(SMALL)
    optimizer = Optimizer(OptimizerConfig(matrix_optimizer=kind), specs)
    generator = np.random.default_rng(6)
    exact, gradients = random_arrays(SMALL, generator), random_arrays(SMALL, generator)
    weights, state = optimizer.update(
        to_mlx(exact), to_mlx(gradients), optimizer.initialize(), mx.array(0.0), mx.array(0.9)
    )
    for name, array in exact.items():
        np.testing.assert_array_equal(to_float64(weights[name]), array)
    assert mx.any(state["first.embedding"]).item()


def test_muon_is_mlx_s_where_the_variant_is_the_same() -> None:
    """MLX's has the quintic, one momentum from the start, a fixed rate; its decay is another, so there is none."""
    config = OptimizerConfig(coefficients="quintic", matrix_decay=0.0)
    specs = {name: spec for name, spec in parameter_specs(CONFIGS["grouped"]).items() if spec.kind == "matrix"}
    generator = np.random.default_rng(7)
    start = {name: array for name, array in random_arrays(CONFIGS["grouped"], generator).items() if name in specs}
    ours, theirs = Optimizer(config, specs), Muon(config.matrix_rate, momentum=0.9, weight_decay=0.0)
    weights, state = to_mlx(start), ours.initialize()
    single = one_by_one(weights, specs)
    for _ in range(3):
        gradients = to_mlx({name: generator.standard_normal(spec.shape) for name, spec in specs.items()})
        weights, state = ours.update(weights, gradients, state, mx.array(1.0), mx.array(0.9))
        single = theirs.apply_gradients(one_by_one(gradients, specs), single)
    before = one_by_one(to_mlx(start), specs)
    for name, array in one_by_one(weights, specs).items():
        change = to_float64(single[name]) - to_float64(before[name])
        assert_close(to_float64(array) - to_float64(before[name]), change, "Muon", "float32", name)


def one_by_one(arrays: dict[str, mx.array], specs: dict) -> dict[str, mx.array]:
    """Every matrix of the banks as an array of its own."""
    return {
        f"{name} {layer} {block}": part[layer]
        for name, array in arrays.items()
        for block, part in enumerate(mx.split(array, np.cumsum(specs[name].blocks)[:-1].tolist(), axis=1))
        for layer in range(len(part))
    }


@pytest.mark.parametrize("name", ["relu2", "grouped", "odd sizes"])
def test_the_kernels_update_as_the_plain_path_does(name: str) -> None:
    """Three steps: parameters and all of the state, names and shapes included."""
    model, config = CONFIGS[name], OptimizerConfig(matrix_decay=0.5, clip_norm=1.0)
    specs, generator = parameter_specs(model), np.random.default_rng(8)
    plain = Optimizer(config, specs, muon="plain")
    start = random_arrays(model, generator)
    with emulated_metal() as launches:
        kernels = Optimizer(config, specs, muon="metal")
        results = [(to_mlx(start), plain.initialize()), (to_mlx(start), kernels.initialize())]
        for _ in range(3):
            gradients = to_mlx(random_arrays(model, generator))
            results = [
                optimizer.update(weights, gradients, state, mx.array(1.0), mx.array(0.9))
                for optimizer, (weights, state) in zip((plain, kernels), results, strict=True)
            ]
        mx.eval(results)
    assert sum(launch.name == "muon_pack" for launch in launches) == 3
    (weights, state), (got_weights, got_state) = results
    for got, expected in ((got_weights, weights), (got_state, state)):
        assert list(got) == list(expected)
        for key, array in expected.items():
            assert got[key].shape == array.shape and got[key].dtype == array.dtype
            subtracted = start.get(key, 0.0)
            change = to_float64(array.astype(mx.float32)) - subtracted
            assert_close(to_float64(got[key].astype(mx.float32)) - subtracted, change, "Muon", "float32", key)


def test_the_kernels_give_the_same_bits_every_time() -> None:
    specs = parameter_specs(SMALL)
    generator = np.random.default_rng(9)
    weights, gradients = (to_mlx(random_arrays(SMALL, generator)) for _ in range(2))
    results = []
    for _ in range(2):
        with emulated_metal():
            optimizer = Optimizer(OptimizerConfig(), specs, muon="metal")
            results.append(optimizer.update(weights, gradients, optimizer.initialize(), mx.array(1.0), mx.array(0.9)))
            mx.eval(results[-1])
    for name, array in results[0][0].items():
        np.testing.assert_array_equal(np.array(array), np.array(results[1][0][name]))


def test_without_hidden_matrices_the_kernels_have_nothing_to_do() -> None:
    specs = parameter_specs(SMALL)
    weights = to_mlx(random_arrays(SMALL, np.random.default_rng(10)))
    with emulated_metal() as launches:
        optimizer = Optimizer(OptimizerConfig(matrix_optimizer="adamw"), specs, muon="metal")
        mx.eval(optimizer.update(weights, weights, optimizer.initialize(), mx.array(1.0), mx.array(0.9)))
    assert launches == []


def test_muon_is_not_asked_where_it_owns_nothing() -> None:
    with emulated_metal() as launches:
        optimizer = Optimizer(OptimizerConfig(matrix_optimizer="adamw"), parameter_specs(SMALL))
    assert optimizer.choice.implementation == "plain" and launches == []


def test_matrices_that_the_kernels_cannot_address_are_left_to_the_plain_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon_pack, "_MOST_ENTRIES", 100)
    with emulated_metal() as launches:
        optimizer = Optimizer(OptimizerConfig(), parameter_specs(SMALL))
        assert optimizer.choice.implementation == "plain" and "100 entries" in optimizer.choice.reason
    assert launches == []


def test_an_implementation_that_is_not_there_is_refused() -> None:
    with pytest.raises(TinyError, match="'cuda'"):
        Optimizer(OptimizerConfig(), parameter_specs(SMALL), muon="cuda")
    if not mx.metal.is_available():
        assert Optimizer(OptimizerConfig(), parameter_specs(SMALL)).choice.implementation == "plain"
        with pytest.raises(TinyError, match="cannot run here"):
            Optimizer(OptimizerConfig(), parameter_specs(SMALL), muon="metal")
