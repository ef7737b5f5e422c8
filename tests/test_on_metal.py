"""On a Mac: the kernels on its GPU, launched directly and inside a compiled step."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from numeric import assert_close, to_float64

from mlx_tiny.config import ModelConfig, RunConfig, TrainConfig
from mlx_tiny.ops import conformance
from mlx_tiny.ops.conformance import computed, numbers
from mlx_tiny.ops.operation import Operation
from mlx_tiny.ops.registry import everything
from mlx_tiny.training.step import TrainingStep

pytestmark = pytest.mark.metal

MODEL = ModelConfig(
    vocabulary_size=512, context=65, layers=2, width=64, heads=2, key_value_heads=1, head_width=32, hidden=96
)
STEPS, BATCH = 20, 4
WITH_KERNELS = {operation.name: operation for operation in everything() if "metal" in operation.implementations}


@pytest.mark.parametrize("operation", WITH_KERNELS.values(), ids=WITH_KERNELS)
def test_compiled_and_repeated_the_kernels_give_the_same_bits(operation: Operation) -> None:
    """The conformance tests check that they are right, on the GPU if there is one."""
    case = max(conformance.cases(operation, "metal"), key=lambda case: case.rows)
    inputs, cotangents = numbers(operation, case)
    eager = lambda a, b: computed(operation, operation.by("metal"), case, a, b)  # noqa: E731
    # Some results are measured on the host.
    wraps = [lambda function: function] * 3 + [mx.compile] * 3 * (operation.name != "muon_pack")
    first, *others = (
        {name: to_float64(array) for name, array in wrap(eager)(inputs, cotangents).items()} for wrap in wraps
    )
    for other in others:
        for name, array in first.items():
            np.testing.assert_array_equal(other[name], array)


def test_twenty_compiled_steps_have_the_losses_of_the_plain_path() -> None:
    batches = np.random.default_rng(0).integers(0, MODEL.vocabulary_size, (4, BATCH, MODEL.context + 1))
    losses = []
    for implementation in ("metal", "plain"):
        train = TrainConfig(batch_size=BATCH, implementation=implementation)
        step = TrainingStep(RunConfig(model=MODEL, train=train), compiled=True)
        state, found = step.initial_state(), []
        for number in range(STEPS):
            state, loss = step(state, batches[number % 4].astype(np.int32), (number + 1) / STEPS, 0.9)
            found.append(loss.item())
        losses.append(np.array(found))
    assert_close(losses[0], losses[1], "training with kernels", "float32")
