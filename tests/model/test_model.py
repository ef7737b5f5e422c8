"""The model against float64 numpy, its gradients against finite differences, and its counts against its graph."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import numpy_model
import pytest
from graph import beyond_the_diagonal, multiply_adds_of
from numeric import able_to_run, assert_close, to_float64
from numpy_model import CONFIGS, SMALL, random_parameters, random_tokens, to_mlx

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.forward import StandIns, hidden_states, logits, token_losses
from mlx_tiny.model.parameters import (
    Parameters,
    initialize,
    multiply_adds_per_token,
    parameter_count,
    parameter_specs,
    parameters_by_group,
    training_flops_per_token,
)
from mlx_tiny.ops.implementations import decide

each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def losses(weights: Parameters, config: ModelConfig, rows: int = 2, asked: str = "auto", **how: Any) -> mx.array:
    tokens, targets = (mx.array(array) for array in random_tokens(config, rows))
    dtype = str(how.get("dtype", mx.float32)).removeprefix("mlx.core.")
    return token_losses(weights, config, tokens, targets, decide(config, batch=rows, dtype=dtype, asked=asked), **how)


@each_config
@pytest.mark.parametrize("asked", ["auto", "plain"])
def test_the_forward_pass_is_the_one_described(config: ModelConfig, asked: str) -> None:
    parameters = random_parameters(config)
    tokens, targets = random_tokens(config)
    got, _ = logits(to_mlx(parameters), config, mx.array(tokens), decide(config, batch=2, asked=asked))
    expected = np.stack([numpy_model.logits(parameters, config, window) for window in tokens])
    assert_close(got, expected, "model", "float32")
    expected = numpy_model.losses(parameters, config, tokens, targets)
    assert_close(losses(to_mlx(parameters), config, asked=asked), expected, "model", "float32")


@each_config
def test_the_gradient_of_every_parameter_is_that_of_finite_differences(config: ModelConfig) -> None:
    parameters, (tokens, targets) = random_parameters(config), random_tokens(config)
    cotangent = np.random.default_rng(5).standard_normal(targets.shape).astype(np.float32).astype(np.float64)
    gradients = mx.grad(lambda weights: (losses(weights, config) * mx.array(cotangent, mx.float32)).sum())(
        to_mlx(parameters)
    )
    assert set(gradients) == set(parameter_specs(config))
    generator = np.random.default_rng(6)
    for name, gradient in gradients.items():
        exact = to_float64(gradient)
        assert np.abs(exact).max() > 0, name
        got, expected = [], []
        for _ in range(2):
            direction = generator.standard_normal(exact.shape)
            direction /= np.linalg.norm(direction)
            changes = [
                numpy_model.losses({**parameters, name: parameters[name] + step * direction}, config, tokens, targets)
                for step in (1e-5, -1e-5)
            ]
            expected.append(((changes[0] - changes[1]) * cotangent).sum() / 2e-5)
            got.append((exact * direction).sum())
        # A direction of many dimensions meets little of the gradient: its length is the scale.
        scale = np.linalg.norm(exact)
        assert_close(np.array(got) / scale + 1, np.array(expected) / scale + 1, "model gradient", "float32", name)


@pytest.mark.parametrize("name", ["grouped", "one key head", "odd sizes"])
@pytest.mark.parametrize("asked", ["plain", "mlx", "auto"])
def test_neither_the_future_nor_another_row_is_seen(name: str, asked: str) -> None:
    config = CONFIGS[name]
    parameters, (tokens, _) = to_mlx(random_parameters(config)), random_tokens(config)
    implementations = decide(config, batch=2, asked=asked)

    def states(tokens: np.ndarray) -> np.ndarray:
        return to_float64(hidden_states(parameters, config, mx.array(tokens), implementations)[0])

    before = states(tokens)
    for t in range(config.context):
        changed = tokens.copy()
        changed[0, t] = (changed[0, t] + 1) % config.vocabulary_size
        after = states(changed)
        np.testing.assert_array_equal(before[0, :t], after[0, :t])
        assert (before[0, t:] != after[0, t:]).any(axis=-1).all(), "and everything from it on"
        np.testing.assert_array_equal(before[1], after[1])


def test_the_kernels_compute_every_layer_both_ways() -> None:
    config = replace(SMALL, head_width=32, key_value_heads=2)
    parameters = to_mlx(random_parameters(config))
    with able_to_run("metal") as launches:
        got, gradients = mx.value_and_grad(lambda weights: losses(weights, config, asked="metal").mean())(parameters)
        mx.eval(got, gradients)
    if launches is not None:
        counts = Counter(launch.name for launch in launches)
        names = {"qk_norm_rope_forward", "qk_norm_rope_backward", "attention_forward", "attention_backward_query"}
        assert {counts[name] for name in names} == {config.layers}
    expected, others = mx.value_and_grad(lambda weights: losses(weights, config, asked="plain").mean())(parameters)
    assert_close(got, expected, "model", "float32")
    for name, gradient in gradients.items():
        assert_close(gradient, others[name], "model gradient", "float32", name)


@each_config
@pytest.mark.parametrize("chunks", [[1] * 12, [5, 1, 1, 3, 2], [11, 1]])
def test_the_cache_changes_nothing(config: ModelConfig, chunks: list[int]) -> None:
    parameters, (tokens, _) = to_mlx(random_parameters(config)), random_tokens(config)
    whole, _ = logits(parameters, config, mx.array(tokens), decide(config, batch=2))
    parts, cache, start = [], None, 0
    for count in chunks:
        implementations = decide(replace(config, context=count), batch=2, past=start)
        part, cache = logits(parameters, config, mx.array(tokens[:, start : start + count]), implementations, cache)
        parts.append(to_float64(part))
        start += count
    assert all(array.shape[1] == config.context for pair in cache for array in pair)
    assert_close(np.concatenate(parts, axis=1), whole, "cache", "float32")


@each_config
def test_parameters_start_as_specified_and_are_counted(config: ModelConfig) -> None:
    config = replace(config, width=64, hidden=96)
    made, specs = initialize(config, seed=1), parameter_specs(config)
    assert {name: (array.shape, array.dtype) for name, array in made.items()} == {
        name: (spec.shape, mx.float32) for name, spec in specs.items()
    }
    assert sum(array.size for array in made.values()) == parameter_count(config)
    assert sum(parameters_by_group(config).values()) == parameter_count(config)
    for name, values in ((name, to_float64(array)) for name, array in made.items()):
        error = specs[name].std / math.sqrt(values.size)
        assert abs(values.mean() - specs[name].start) <= 5 * error and abs(values.std() - specs[name].std) <= 5 * error
    assert {name: (spec.std, spec.start) for name, spec in specs.items() if spec.std or spec.start} == {
        # One over the root of the width keeps the scale.
        "embedding": (1 / 8 if config.tied else 1.0, 0),
        **dict.fromkeys(("query_key_value", "mlp_input"), (1 / 8, 0)),
        **dict.fromkeys(("query_norm_weight", "key_norm_weight", "residual_scale"), (0, 1)),
    }
    again, other = initialize(config, seed=1), initialize(config, seed=2)
    assert all(mx.array_equal(made[name], again[name]) for name in made)
    assert not mx.array_equal(made["embedding"], other["embedding"])
    assert not np.array_equal(to_float64(made["embedding"]).flat[:9], to_float64(made["mlp_input"]).flat[:9])


@each_config
def test_multiply_adds_are_those_of_the_graph(config: ModelConfig) -> None:
    rows, parameters = 3, initialize(config, seed=0)

    # Operations with gradients of their own hide their graph from export, and so do MLX's fast ones.
    def loss(weights: Parameters) -> mx.array:
        return losses(weights, config, rows, asked="plain").mean()

    def loss_and_gradients(weights: Parameters) -> list[mx.array]:
        value, gradients = mx.value_and_grad(loss)(weights)
        return [value, *gradients.values()]

    dense = multiply_adds_of(lambda weights: [loss(weights)], parameters)
    assert dense - beyond_the_diagonal(config, rows) == rows * config.context * multiply_adds_per_token(config)
    # Backward: each product has a gradient for each of its two factors.
    assert multiply_adds_of(loss_and_gradients, parameters) == 3 * dense
    assert training_flops_per_token(config) == 2 * 3 * multiply_adds_per_token(config)


def test_multiply_adds_of_a_context() -> None:
    """The mean of 1 ... T keys per query is (T + 1) / 2."""
    shorter, longer = (multiply_adds_per_token(SMALL, context) for context in (1, 101))
    assert longer - shorter == SMALL.layers * 2 * SMALL.heads * SMALL.head_width * 50
    assert multiply_adds_per_token(SMALL) == multiply_adds_per_token(SMALL, SMALL.context)


@each_config
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
def test_a_fresh_model_has_the_loss_of_uniform_logits(config: ModelConfig, dtype: mx.Dtype) -> None:
    found = losses(initialize(config, seed=0), config, dtype=dtype)
    assert found.dtype == mx.float32 and found.shape == (2, config.context)
    if config.tied:
        assert abs(to_float64(found).mean() - math.log(config.vocabulary_size)) < 1.5
    else:
        np.testing.assert_allclose(to_float64(found), math.log(config.vocabulary_size), rtol=2.0**-23)


@each_config
def test_every_parameter_of_a_fresh_model_comes_to_learn(config: ModelConfig) -> None:
    """Zero output projections pass no gradient at first; after a step or two all parameters have a gradient."""
    parameters = initialize(config, seed=0)
    gradient = mx.grad(lambda weights: losses(weights, config).mean())
    for _ in range(3):
        parameters = {name: parameters[name] - 0.1 * g for name, g in gradient(parameters).items()}
    for name, values in gradient(parameters).items():
        assert np.isfinite(to_float64(values)).all() and np.abs(to_float64(values)).max() > 0, name


@each_config
def test_bfloat16_is_close(config: ModelConfig) -> None:
    parameters = random_parameters(config)
    found, gradients = mx.value_and_grad(lambda weights: losses(weights, config, dtype=mx.bfloat16).mean())(
        to_mlx(parameters)
    )
    assert_close(found, numpy_model.losses(parameters, config, *random_tokens(config)).mean(), "model", "bfloat16")
    exact = mx.grad(lambda weights: losses(weights, config).mean())(to_mlx(parameters))
    for name, gradient in gradients.items():
        assert gradient.dtype == mx.float32
        assert_close(gradient, exact[name], "model gradient", "bfloat16", name)


def test_a_tap_sees_every_result_in_order_and_what_it_gives_goes_on() -> None:
    parameters, seen = to_mlx(random_parameters(SMALL)), list[str]()

    def tap(name: str, array: mx.array) -> mx.array:
        seen.append(name)
        return mx.zeros_like(array) if name == "layer.1.mlp.output" else array

    changed = losses(parameters, SMALL, tap=tap)
    layer = "attention.query attention.key attention.value attention.mixed attention.output after_attention".split()
    layer += ["mlp.hidden", "mlp.output", "after_mlp"]
    assert seen == ["embedded", *(f"layer.{i}.{name}" for i in range(2) for name in layer), "normalized"]
    weights = {**parameters, "mlp_output": parameters["mlp_output"] * mx.array([1.0, 0.0])[:, None, None]}
    assert_close(changed, losses(weights, SMALL), "model", "float32")


def test_stand_ins_take_the_place_of_parts() -> None:
    parameters = to_mlx(random_parameters(SMALL))
    nothing = StandIns(attention=mx.zeros_like, mlp=mx.zeros_like)
    silent = dict.fromkeys(("attention_output", "mlp_output"), 0)
    weights = {name: array * silent.get(name, 1) for name, array in parameters.items()}
    assert_close(losses(parameters, SMALL, stand_ins=nothing), losses(weights, SMALL), "model", "float32")
    whole = losses(parameters, SMALL, stand_ins=StandIns(norm=lambda x: x, head=lambda x: x.sum(axis=-1)))
    assert whole.shape == (2, SMALL.context)
