"""On a Mac: the kernels on the GPU itself, as they are launched by hand and inside a compiled step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mlx.core as mx
import numpy as np
import pytest
from mlx_tiny.ops.muon_pack import make_layout, pack
from mlx_tiny.ops.newton_schulz import orthogonalize
from mlx_tiny.ops.rotary import rotary_tables
from numeric import assert_close, normal, to_float64

from mlx_tiny.bench.references import newton_schulz
from mlx_tiny.config import ModelConfig, RunConfig, TrainConfig
from mlx_tiny.ops.attention import causal_attention
from mlx_tiny.ops.qk_norm_rope import qk_norm_rope
from mlx_tiny.training.step import TrainingStep
from mlx_tiny.validate import references
from mlx_tiny.validate.kernels import cases

pytestmark = pytest.mark.metal

MODEL = ModelConfig(
    vocabulary_size=512, context=65, layers=2, width=64, heads=2, key_value_heads=1, head_width=32, hidden=96
)
STEPS, BATCH = 20, 4
# Of each operation's input: B, T, heads, K. Two blocks of queries and a rest.
B, T, K = 2, 70, 64
SHAPE = (B, T, 8, K)
MU = 0.75


def test_every_kernel_is_within_its_bounds() -> None:
    checks = [check for case in cases() for check in case.checks()]
    assert not [check for check in checks if not check.passed]


def attention(x: mx.array) -> list[mx.array]:
    query, key, value = mx.split(x, [4, 6], axis=2)
    return [causal_attention(query, key, value, scale=0.2, implementation="metal")]


def exact_attention(x: np.ndarray, cotangents: list[np.ndarray]) -> list[np.ndarray]:
    output, *gradients = references.attention(*np.split(x, [4, 6], axis=2), *cotangents, 0.2)
    return [output, np.concatenate(gradients, axis=2)]


def heads(x: mx.array) -> list[mx.array]:
    weight, tables = mx.ones(K), rotary_tables(T, K, 100.0)
    return list(qk_norm_rope(x, weight, weight, tables, key_value_heads=2, epsilon=1e-6, implementation="metal"))


def exact_heads(x: np.ndarray, cotangents: list[np.ndarray]) -> list[np.ndarray]:
    turn = tuple(to_float64(table)[:, 0] for table in rotary_tables(T, K, 100.0))
    arguments = x, np.ones(K), np.ones(K), turn, 2, 1e-6
    return [*references.heads(*arguments), references.heads_gradients(*arguments, cotangents)[0]]


def packing(x: mx.array) -> list[mx.array]:
    gradient = x.reshape(B, -1, 2 * K)
    layout = make_layout([gradient.shape], [(200, 40, 40)])
    packed = pack([gradient], [2 * gradient], mx.array(MU), layout, implementation="metal")
    return [*packed.momenta, *packed.banks]


def exact_packing(x: np.ndarray, _: list[np.ndarray]) -> list[np.ndarray]:
    gradient = x.reshape(B, -1, 2 * K)
    average, ahead = references.look_ahead(gradient, 2 * gradient, MU)
    return [average, ahead[:, :200].swapaxes(1, 2), ahead[:, 200:].reshape(2 * B, 40, 2 * K)]


def orthogonal(x: mx.array) -> list[mx.array]:
    return [orthogonalize(x.reshape(B, -1, 2 * K), implementation="metal")]


def exact_orthogonal(x: np.ndarray, _: list[np.ndarray]) -> list[np.ndarray]:
    wide = x.reshape(B, -1, 2 * K).swapaxes(1, 2)
    return [newton_schulz({"bank": wide}, "polar_express")["bank"].swapaxes(1, 2)]


@dataclass(frozen=True)
class Operation:
    """A function of one array, its float64 formula, and whose bounds hold; of `cotangents` it has a gradient too."""

    function: Callable[[mx.array], list[mx.array]]
    exact: Callable[[np.ndarray, list[np.ndarray]], list[np.ndarray]]
    bounds: str
    cotangents: tuple[tuple[int, ...], ...] = ()

    def results(self, function: Callable[[mx.array], list[mx.array]], x: mx.array) -> list[mx.array]:
        if not self.cotangents:
            return function(x)
        outputs, gradients = mx.vjp(function, [x], [array for array, _ in self.given()])
        return [*outputs, *gradients]

    def given(self) -> list[tuple[mx.array, np.ndarray]]:
        generator = np.random.default_rng(1)
        return [normal(generator, shape) for shape in self.cotangents]


OPERATIONS = {
    "attention": Operation(attention, exact_attention, "attention kernel", ((B, T, 4, K),)),
    "heads": Operation(heads, exact_heads, "heads kernel", ((B, T, 4, K), (B, T, 2, K), (B, T, 2, K))),
    "packing": Operation(packing, exact_packing, "Muon pack"),
    "orthogonalisation": Operation(orthogonal, exact_orthogonal, "Newton-Schulz kernel"),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_launched_by_hand_and_compiled_it_is_right_and_gives_the_same_bits_every_time(operation: Operation) -> None:
    x, exact = normal(np.random.default_rng(0), SHAPE)
    expected = operation.exact(exact, [cotangent for _, cotangent in operation.given()])
    compiled = mx.compile(operation.function)
    runs = [operation.results(function, x) for function in (*[operation.function] * 3, *[compiled] * 3)]
    for result, right in zip(runs[0], expected, strict=True):
        assert_close(result, right, operation.bounds, "float32")
    for run in runs[1:]:
        for result, first in zip(run, runs[0], strict=True):
            np.testing.assert_array_equal(np.array(result), np.array(first))


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
