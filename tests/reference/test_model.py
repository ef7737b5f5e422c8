"""The reference against finite differences, float64 numpy and MLX: logits, losses and every gradient."""

from __future__ import annotations

import math
from dataclasses import replace

import mlx.core as mx
import numpy as np
import numpy_model
import pytest
import torch
from numpy_model import CONFIGS, SMALL, to_mlx

from mlx_tiny.config import ModelConfig
from mlx_tiny.model import forward as mlx_model
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.ops.implementations import Implementations, decide
from mlx_tiny.reference import model
from mlx_tiny.reference.step import loss_and_gradients

from .alike import assert_alike, random_batch, to_numpy, to_torch, weights

pytestmark = pytest.mark.torch
BOTH_SIDES = ("both sides", "both sides' gradient")
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def mlx_loss_and_gradients(arrays: dict, config: ModelConfig, batch: np.ndarray, asked: str = "auto"):
    inputs, targets = mx.array(batch[:, :-1]), mx.array(batch[:, 1:])
    chosen = implementations(config, batch, asked)
    return mx.value_and_grad(lambda p: mlx_model.token_losses(p, config, inputs, targets, chosen).mean())(
        to_mlx(arrays)
    )


def implementations(config: ModelConfig, batch: np.ndarray, asked: str = "auto") -> Implementations:
    return decide(replace(config, context=batch.shape[1] - 1), batch=len(batch), asked=asked)


@each_config
def test_parameters_are_those_of_the_reference_in_their_order(config: ModelConfig) -> None:
    fields = ("shape", "std", "start", "rate", "decays", "layers", "blocks")
    ours, theirs = (
        [(name, *(getattr(parameter, field) for field in fields)) for name, parameter in described.items()]
        for described in (model.parameters_of(config), parameter_specs(config))
    )
    assert ours == theirs


@each_config
def test_scores_in_float64_are_those_of_numpy(config: ModelConfig) -> None:
    arrays, batch = weights(config), random_batch(config)
    got = model.logits(to_torch(arrays, torch.float64), config, torch.from_numpy(batch).long())
    assert got.dtype == torch.float64
    expected = np.stack([numpy_model.logits(arrays, config, window) for window in batch])
    assert_alike(got, expected, "formula", dtype="float64")


@each_config
@pytest.mark.parametrize("asked", ["plain", "auto"])
def test_mlx_and_the_reference_agree_in_float32(config: ModelConfig, asked: str) -> None:
    arrays, batch = weights(config), random_batch(config)
    scores, _ = mlx_model.logits(to_mlx(arrays), config, mx.array(batch[:, :-1]), implementations(config, batch))
    token_BT = torch.from_numpy(batch[:, :-1]).long()
    whole, slopes = BOTH_SIDES
    assert_alike(model.logits(to_torch(arrays), config, token_BT), scores, whole, "scores")
    loss, gradients = loss_and_gradients(to_torch(arrays), config, batch)
    other_loss, others = mlx_loss_and_gradients(arrays, config, batch, asked)
    assert_alike(loss, other_loss, whole, "loss")
    assert list(gradients) == list(others)
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        assert_alike(gradient, others[name], slopes, name)


@each_config
def test_gradients_are_the_slopes_of_the_loss(config: ModelConfig) -> None:
    """Central differences in float64, along one random direction in each parameter."""
    parameters, batch = to_torch(weights(config, seed=3), torch.float64), random_batch(config)
    _, gradients = loss_and_gradients(parameters, config, batch)
    generator = torch.Generator().manual_seed(0)
    for name, weight in parameters.items():
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        losses = [
            loss_and_gradients({**parameters, name: weight + step * direction}, config, batch)[0].item()
            for step in (1e-6, -1e-6)
        ]
        slope = (losses[0] - losses[1]) / 2e-6
        assert_alike((gradients[name] * direction).sum(), np.array(slope), "slope", name, "float64")


@each_config
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_fused_attention_equals_plain_attention(config: ModelConfig, dtype: torch.dtype) -> None:
    parameters, batch = to_torch(weights(config), dtype), random_batch(config)
    loss, gradients = loss_and_gradients(parameters, config, batch, attention="fused")
    other_loss, others = loss_and_gradients(parameters, config, batch, attention="plain")
    exact = dtype == torch.float64
    whole, slopes, kind = ("formula", "formula", "float64") if exact else (*BOTH_SIDES, "float32")
    assert_alike(loss, other_loss, whole, "loss", kind)
    for name, gradient in gradients.items():
        assert_alike(gradient, others[name], slopes, name, kind)


@each_config
def test_bfloat16_is_close_to_float32(config: ModelConfig) -> None:
    parameters, batch = to_torch(weights(config)), random_batch(config)
    loss, gradients = loss_and_gradients(parameters, config, batch, dtype=torch.bfloat16)
    exact_loss, exact = loss_and_gradients(parameters, config, batch)
    assert_alike(loss, exact_loss, "model", dtype="bfloat16")
    assert loss.dtype == torch.float32
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        assert_alike(gradient, exact[name], "model gradient", name, dtype="bfloat16")


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_batch_add_up(parts: int) -> None:
    parameters, batch = to_torch(weights(SMALL), torch.float64), random_batch(SMALL, rows=4)
    loss, gradients = loss_and_gradients(parameters, SMALL, batch, micro_batches=parts)
    whole_loss, whole = loss_and_gradients(parameters, SMALL, batch)
    assert_alike(loss, whole_loss, "formula", "loss", "float64")
    for name, gradient in whole.items():
        assert_alike(gradients[name], gradient, "formula", name, "float64")


def test_a_record_holds_every_step_in_order_and_gradients_reach_it() -> None:
    record: dict[str, torch.Tensor] = {}
    batch = torch.from_numpy(random_batch(SMALL)).long()
    parameters = {name: weight.requires_grad_() for name, weight in to_torch(weights(SMALL)).items()}
    losses = model.token_losses(parameters, SMALL, batch[:, :-1], batch[:, 1:], record=record)
    of_a_layer = (
        "attention.query attention.key attention.value attention.mixed attention.output after_attention".split()
    )
    of_a_layer += ["mlp.hidden", "mlp.output", "after_mlp"]
    layers = [f"layer.{index}.{name}" for index in range(SMALL.layers) for name in of_a_layer]
    assert list(record) == ["embedded", *layers, "normalized", "logits"]
    gradients = torch.autograd.grad(losses.mean(), list(record.values()))
    assert all(gradient.abs().max() > 0 for gradient in gradients)
    assert record["layer.1.attention.query"].shape == (2, SMALL.context, SMALL.heads, SMALL.head_width)


def test_a_fault_shows_first_where_it_was_made() -> None:
    """The comparison in lockstep relies on this: before a changed weight, no recorded number differs."""
    arrays, batch = weights(SMALL), torch.from_numpy(random_batch(SMALL)).long()
    sound, faulty = ({} for _ in range(2))
    model.logits(to_torch(arrays), SMALL, batch, record=sound)
    arrays["mlp_output"][1] *= -1
    model.logits(to_torch(arrays), SMALL, batch, record=faulty)
    differing = [name for name in sound if not torch.equal(sound[name], faulty[name])]
    assert differing == ["layer.1.mlp.output", "layer.1.after_mlp", "normalized", "logits"]


@each_config
def test_fresh_parameters_are_as_described(config: ModelConfig) -> None:
    wide = replace(config, width=96, hidden=192, vocabulary_size=512)
    fresh, again, other = (model.initialize(wide, seed) for seed in (1, 1, 2))
    for name, parameter in model.parameters_of(wide).items():
        values = to_numpy(fresh[name])
        assert fresh[name].dtype == torch.float32
        error = 6 * parameter.std / math.sqrt(values.size)
        assert abs(values.mean() - parameter.start) <= error and abs(values.std() - parameter.std) <= error
        assert torch.equal(fresh[name], again[name])
    assert not torch.equal(fresh["embedding"], other["embedding"])


def test_scores_of_any_size_overflow_nothing() -> None:
    scores = torch.tensor([[1e4, 0.0, -1e4], [-1e30, 0.0, 1e30]], requires_grad=True)
    losses = model.cross_entropy(scores, torch.tensor([1, 2]))
    assert losses.tolist() == [1e4, 0.0]
    (gradient,) = torch.autograd.grad(losses.sum(), scores)
    assert gradient.tolist() == [[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]]


@pytest.mark.parametrize("attention", [model.plain_attention, model.fused_attention])
def test_attention_of_extreme_scores(attention) -> None:
    """With scores near 10,000 the softmax selects the largest."""
    query = torch.zeros(1, 3, 1, 4)
    query[..., 0] = 200.0
    key, value = torch.zeros(1, 3, 1, 4), torch.randn(1, 3, 1, 4, generator=torch.Generator().manual_seed(0))
    key[0, :, 0, 0] = torch.tensor([-100.0, 100.0, 50.0])
    mixed = attention(query, key, value)
    assert torch.equal(mixed[0, :, 0], value[0, [0, 1, 1], 0])


def test_rows_of_a_batch_do_not_see_each_other_nor_the_future() -> None:
    parameters, batch = to_torch(weights(SMALL), torch.float64), torch.from_numpy(random_batch(SMALL)).long()
    scores = model.logits(parameters, SMALL, batch)
    changed = batch.clone()
    changed[0, 7:] = (changed[0, 7:] + 1) % SMALL.vocabulary_size
    others = model.logits(parameters, SMALL, changed)
    assert torch.equal(scores[1], others[1])
    assert_alike(scores[0, :7], others[0, :7], "formula", dtype="float64")
    assert (scores[0, 7:] - others[0, 7:]).abs().amax(dim=-1).min() > 1e-3
