"""On a Mac: the kernels on the GPU itself, as they are launched by hand and inside a compiled step."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from numeric import assert_close

from mlx_tiny.config import ModelConfig, RunConfig, TrainConfig
from mlx_tiny.ops.attention import causal_attention
from mlx_tiny.ops.heads import split_heads
from mlx_tiny.ops.newton_schulz import orthogonalize
from mlx_tiny.ops.rotary import rotary_tables
from mlx_tiny.step import TrainingStep
from mlx_tiny.validate.kernels import cases

pytestmark = pytest.mark.metal

MODEL = ModelConfig(
    vocabulary_size=512, context=65, layers=2, width=64, heads=2, key_value_heads=1, head_width=32, hidden=96
)
STEPS, BATCH = 20, 4


def test_every_kernel_is_within_its_bounds() -> None:
    checks = [check for case in cases() for check in case.checks()]
    assert not [check for check in checks if not check.passed]


def attention(x: mx.array) -> mx.array:
    query, key = x[:, :, :4], x[:, :, 4:6]
    return causal_attention(query, key, x[:, :, 6:], scale=0.2, implementation="metal")


def heads(x: mx.array) -> mx.array:
    gain, tables = mx.ones(64), rotary_tables(x.shape[1], 64, 100.0)
    query, key, value = split_heads(x, gain, gain, tables, key_value_heads=2, epsilon=1e-6, implementation="metal")
    return query.sum(axis=2) * key.sum(axis=2) + value.sum(axis=2)


def muon(x: mx.array) -> mx.array:
    return orthogonalize(x.reshape(2, -1, 128), implementation="metal")


@pytest.mark.parametrize("operation", [attention, heads, muon])
def test_a_compiled_graph_gives_the_same_bits(operation) -> None:
    x = mx.array(np.random.default_rng(0).standard_normal((2, 70, 8, 64)), dtype=mx.float32)
    results = []
    for function in (operation, mx.compile(operation)):
        if operation is muon:
            results.append([np.array(function(x))])
        else:
            outputs, gradients = mx.vjp(function, [x], [mx.ones_like(operation(x))])
            results.append([np.array(array) for array in (*outputs, *gradients)])
    for eager, compiled in zip(*results, strict=True):
        np.testing.assert_array_equal(eager, compiled)


def test_twenty_compiled_steps_have_the_losses_of_the_plain_path() -> None:
    batches = np.random.default_rng(0).integers(0, MODEL.vocabulary_size, (4, BATCH, MODEL.context + 1))
    losses = []
    for implementation in ("metal", "plain"):
        train = TrainConfig(batch_size=BATCH, attention=implementation, muon=implementation)
        step = TrainingStep(RunConfig(model=MODEL, train=train), compiled=True)
        state, found = step.initial_state(), []
        for number in range(STEPS):
            state, loss = step(state, batches[number % 4].astype(np.int32), (number + 1) / STEPS, 0.9)
            found.append(loss.item())
        losses.append(np.array(found))
    assert_close(losses[0], losses[1], "training with kernels", "float32")
