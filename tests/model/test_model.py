"""The model against float64 numpy, its gradients against finite differences, and its counts against its graph."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import mlx.core as mx
import numpy as np
import numpy_model
import pytest
from emulator import emulated_metal
from numeric import assert_close, to_float64
from numpy_model import random_parameters

from mlx_tiny.config import ModelConfig
from mlx_tiny.model import forward as model
from mlx_tiny.model.forward import (
    hidden_states,
    initialize,
    logits,
    multiply_adds_per_token,
    parameter_count,
    parameter_specs,
    token_losses,
    training_flops_per_token,
)

SMALL = ModelConfig(
    vocabulary_size=256, context=12, layers=2, width=12, heads=4, key_value_heads=4, head_width=6, hidden=20
)
CONFIGS = {
    "relu2": SMALL,
    "swiglu": replace(SMALL, activation="swiglu"),
    "grouped": replace(SMALL, key_value_heads=2, activation="swiglu"),
    "one key head": replace(SMALL, key_value_heads=1, rope_base=50.0),
    "tied": replace(SMALL, tied=True, layers=1),
    "odd sizes": replace(SMALL, width=7, heads=3, key_value_heads=1, head_width=2, hidden=5, tied=True, layers=3),
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def to_mlx(parameters: dict[str, np.ndarray]) -> dict[str, mx.array]:
    return {name: mx.array(array.astype(np.float32)) for name, array in parameters.items()}


def random_tokens(config: ModelConfig, rows: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    both = np.random.default_rng(seed).integers(0, config.vocabulary_size, (rows, config.context + 1))
    return both[:, :-1], both[:, 1:]


@each_config
def test_the_forward_pass_is_the_one_described(config: ModelConfig) -> None:
    parameters = random_parameters(config)
    tokens, targets = random_tokens(config)
    got, _ = logits(to_mlx(parameters), config, mx.array(tokens))
    expected = np.stack([numpy_model.logits(parameters, config, window) for window in tokens])
    assert_close(got, expected, "model", "float32")
    losses = token_losses(to_mlx(parameters), config, mx.array(tokens), mx.array(targets))
    assert_close(losses, numpy_model.losses(parameters, config, tokens, targets), "model", "float32")


@each_config
def test_the_gradient_of_every_parameter_is_that_of_finite_differences(config: ModelConfig) -> None:
    parameters = random_parameters(config)
    tokens, targets = random_tokens(config)
    cotangent = np.random.default_rng(5).standard_normal(targets.shape).astype(np.float32).astype(np.float64)

    def loss(arrays):
        return (
            token_losses(arrays, config, mx.array(tokens), mx.array(targets)) * mx.array(cotangent, mx.float32)
        ).sum()

    gradients = mx.grad(loss)(to_mlx(parameters))
    assert set(gradients) == set(parameter_specs(config))
    generator = np.random.default_rng(6)
    for name, gradient in gradients.items():
        exact = to_float64(gradient)
        assert np.abs(exact).max() > 0, name
        got, expected = [], []
        for _ in range(4):
            direction = generator.standard_normal(exact.shape)
            direction /= np.linalg.norm(direction)
            changes = [
                (numpy_model.losses({**parameters, name: parameters[name] + step * direction}, config, tokens, targets))
                for step in (1e-5, -1e-5)
            ]
            expected.append(((changes[0] - changes[1]) * cotangent).sum() / 2e-5)
            got.append((exact * direction).sum())
        # A direction of many dimensions meets little of the gradient: its length is the scale.
        scale = np.linalg.norm(exact)
        assert_close(np.array(got) / scale + 1, np.array(expected) / scale + 1, "model gradient", "float32", name)


@each_config
@pytest.mark.parametrize("implementation", ["plain", "mlx", "auto"])
def test_a_token_changes_nothing_before_it(config: ModelConfig, implementation: str) -> None:
    parameters = to_mlx(random_parameters(config))
    tokens, _ = random_tokens(config)
    before = to_float64(hidden_states(parameters, config, mx.array(tokens), attention=implementation)[0])
    for t in range(config.context):
        changed = tokens.copy()
        changed[:, t] = (changed[:, t] + 1) % config.vocabulary_size
        after = to_float64(hidden_states(parameters, config, mx.array(changed), attention=implementation)[0])
        np.testing.assert_array_equal(before[:, :t], after[:, :t])
        assert (before[:, t:] != after[:, t:]).any(axis=-1).all(), "and everything from it on"


def test_the_kernels_serve_every_layer_both_ways() -> None:
    config = replace(SMALL, head_width=32, key_value_heads=2)
    parameters = to_mlx(random_parameters(config))
    tokens, targets = (mx.array(array) for array in random_tokens(config))

    def loss(implementation: str, arrays):
        return token_losses(arrays, config, tokens, targets, attention=implementation).mean()

    with emulated_metal() as launches:
        got, gradients = mx.value_and_grad(partial(loss, "metal"))(parameters)
        mx.eval(got, gradients)
    counts = Counter(launch.name for launch in launches)
    assert {counts["qk_norm_rope_forward"], counts["qk_norm_rope_backward"], counts["attention_forward"]} == {
        config.layers
    }
    expected, expected_gradients = mx.value_and_grad(partial(loss, "plain"))(parameters)
    assert_close(got, to_float64(expected), "model", "float32")
    for name, gradient in gradients.items():
        assert_close(gradient, to_float64(expected_gradients[name]), "model gradient", "float32", name)


@each_config
@pytest.mark.parametrize("chunks", [[1] * 12, [5, 1, 1, 3, 2], [11, 1], [1, 11], [6, 6]])
def test_the_cache_changes_nothing(config: ModelConfig, chunks: list[int]) -> None:
    parameters = to_mlx(random_parameters(config))
    tokens, _ = random_tokens(config)
    whole, _ = logits(parameters, config, mx.array(tokens))
    parts, cache, start = [], None, 0
    for count in chunks:
        part, cache = logits(parameters, config, mx.array(tokens[:, start : start + count]), cache)
        parts.append(to_float64(part))
        start += count
    assert all(array.shape[1] == config.context for pair in cache for array in pair)
    assert_close(np.concatenate(parts, axis=1), to_float64(whole), "cache", "float32")


@each_config
def test_parameters_are_counted_as_they_are_made(config: ModelConfig) -> None:
    made = initialize(config, seed=3)
    assert sum(array.size for array in made.values()) == parameter_count(config)
    assert {name: array.shape for name, array in made.items()} == {
        name: spec.shape for name, spec in parameter_specs(config).items()
    }
    assert all(array.dtype == mx.float32 for array in made.values())


@each_config
def test_parameters_start_as_specified(config: ModelConfig) -> None:
    config = replace(config, width=64, hidden=96)
    made = initialize(config, seed=1)
    for name, spec in parameter_specs(config).items():
        values = to_float64(made[name])
        if spec.kind == "scalar":
            np.testing.assert_array_equal(values, 1)
        elif spec.deviation == 0:
            np.testing.assert_array_equal(values, 0)
        else:
            error = spec.deviation / math.sqrt(values.size)
            assert abs(values.mean()) < 5 * error
            assert abs(values.std() - spec.deviation) < 5 * error
    deviations = {name: spec.deviation for name, spec in parameter_specs(config).items() if spec.deviation}
    assert deviations == {
        "embedding": 1 / 8 if config.tied else 1.0,
        "query_key_value": 1 / 8,
        "mlp_input": 1 / 8,
    }, "one over the root of the width keeps the scale"
    again, other = initialize(config, seed=1), initialize(config, seed=2)
    assert all(mx.array_equal(made[name], again[name]) for name in made)
    assert not mx.array_equal(made["embedding"], other["embedding"])
    assert not np.array_equal(to_float64(made["embedding"]).flat[:9], to_float64(made["mlp_input"]).flat[:9])


def multiply_adds_of(function: Callable[..., list[mx.array]], parameters: dict, *inputs: mx.array) -> int:
    """Multiply-adds of all matrix products in the graph of `function(parameters, *inputs)`."""
    total = 0

    def visit(node: dict) -> None:
        nonlocal total
        if node["type"] == "primitive" and node["name"].endswith(("MM", "Matmul")):
            assert node["name"] == "Matmul", "teach this test to count it"
            total += math.prod(node["outputs"][0][1]) * node["inputs"][0][1][-1]

    def flat(*arrays: mx.array) -> list[mx.array]:
        return function(dict(zip(parameters, arrays, strict=False)), *arrays[len(parameters) :])

    mx.export_function(visit, flat, *parameters.values(), *inputs)
    return total


def beyond_the_diagonal(config: ModelConfig, rows: int) -> int:
    """What dense scores and their product with the values cost above the causal half."""
    T = config.context
    return rows * config.layers * 2 * config.heads * config.head_width * T * (T - 1) // 2


@each_config
@pytest.mark.parametrize("rows", [1, 3])
def test_multiply_adds_are_those_of_the_graph(config: ModelConfig, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Operations with gradients of their own hide their graph from export.
    for operation, name in {"head_cross_entropy": "plain", "activate": "plain", "rms_norm": "mlx"}.items():
        monkeypatch.setattr(model, operation, partial(getattr(model, operation), implementation=name))
    parameters = initialize(config, seed=0)
    tokens, targets = (mx.array(array) for array in random_tokens(config, rows))

    def loss(p: dict, x: mx.array, y: mx.array) -> mx.array:
        return token_losses(p, config, x, y, attention="plain").mean()

    def loss_and_gradients(p: dict, x: mx.array, y: mx.array) -> list[mx.array]:
        value, gradients = mx.value_and_grad(loss)(p, x, y)
        return [value, *gradients.values()]

    dense = multiply_adds_of(lambda *arguments: [loss(*arguments)], parameters, tokens, targets)
    assert dense - beyond_the_diagonal(config, rows) == rows * config.context * multiply_adds_per_token(config)
    # Backward: each product has a gradient for each of its two factors.
    assert multiply_adds_of(loss_and_gradients, parameters, tokens, targets) == 3 * dense
    assert training_flops_per_token(config) == 2 * 3 * multiply_adds_per_token(config)


def test_multiply_adds_of_a_context() -> None:
    """The mean of 1 ... T keys a query is (T + 1) / 2."""
    shorter, longer = (multiply_adds_per_token(SMALL, context) for context in (1, 101))
    assert longer - shorter == SMALL.layers * 2 * SMALL.heads * SMALL.head_width * 50
    assert multiply_adds_per_token(SMALL) == multiply_adds_per_token(SMALL, SMALL.context)
    keys = [t + 1 for t in range(SMALL.context)]
    attention = SMALL.layers * 2 * SMALL.heads * SMALL.head_width * sum(keys) / len(keys)
    weights = sum(s.size for n, s in parameter_specs(SMALL).items() if s.kind in ("matrix", "head"))
    assert multiply_adds_per_token(SMALL) == weights + attention


@each_config
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_fresh_model_knows_nothing(config: ModelConfig, dtype: str) -> None:
    tokens, targets = (mx.array(array) for array in random_tokens(config))
    losses = token_losses(initialize(config, seed=0), config, tokens, targets, dtype=getattr(mx, dtype))
    assert losses.dtype == mx.float32 and losses.shape == targets.shape
    if not config.tied:
        np.testing.assert_allclose(to_float64(losses), math.log(config.vocabulary_size), rtol=2.0**-23)
    else:
        assert abs(to_float64(losses).mean() - math.log(config.vocabulary_size)) < 1.5


@each_config
def test_every_parameter_of_a_fresh_model_comes_to_learn(config: ModelConfig) -> None:
    """Zero output projections pass no gradient at first; after one small step all parameters have one."""
    parameters = initialize(config, seed=0)
    tokens, targets = (mx.array(array) for array in random_tokens(config))
    gradient = mx.grad(lambda p: token_losses(p, config, tokens, targets).mean())
    for _ in range(3):
        parameters = {name: parameters[name] - 0.1 * g for name, g in gradient(parameters).items()}
    for name, values in gradient(parameters).items():
        assert np.isfinite(to_float64(values)).all() and np.abs(to_float64(values)).max() > 0, name


@each_config
def test_bfloat16_is_close(config: ModelConfig) -> None:
    parameters = random_parameters(config)
    tokens, targets = random_tokens(config)
    losses, gradients = mx.value_and_grad(
        lambda p: token_losses(p, config, mx.array(tokens), mx.array(targets), dtype=mx.bfloat16).mean()
    )(to_mlx(parameters))
    assert_close(losses, numpy_model.losses(parameters, config, tokens, targets).mean(), "model", "bfloat16")
    exact = mx.grad(lambda p: token_losses(p, config, mx.array(tokens), mx.array(targets)).mean())(to_mlx(parameters))
    for name, gradient in gradients.items():
        assert gradient.dtype == mx.float32
        assert_close(gradient, to_float64(exact[name]), "model gradient", "bfloat16", name)


def test_rows_of_a_batch_do_not_see_each_other() -> None:
    parameters = to_mlx(random_parameters(SMALL))
    tokens, targets = random_tokens(SMALL, rows=3)
    together = token_losses(parameters, SMALL, mx.array(tokens), mx.array(targets))
    for row in range(3):
        alone = token_losses(parameters, SMALL, mx.array(tokens[row : row + 1]), mx.array(targets[row : row + 1]))
        assert_close(together[row], to_float64(alone)[0], "model", "float32")
