"""Norms, activations and the cross-entropy with extreme inputs."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from numeric import assert_close, rounded

from mlx_tiny.ops.activation import ACTIVATION
from mlx_tiny.ops.cross_entropy import CROSS_ENTROPY
from mlx_tiny.ops.norm import NORM
from mlx_tiny.ops.operation import Operation, here

EPSILON = 1e-5


def implementations(operation: Operation) -> list[str]:
    names = [name for name, how in operation.implementations.items() if how.device in ("", here().kind)]
    return [name for name in names if name != "native" or here().native]


@pytest.mark.parametrize("implementation", implementations(NORM))
def test_rows_of_zeros_stay_zero(implementation: str) -> None:
    normalized, (gradient,) = mx.vjp(
        lambda x: NORM(implementation, x, epsilon=EPSILON), [mx.zeros((2, 8))], [mx.ones((2, 8))]
    )
    assert not np.array(normalized[0]).any()
    np.testing.assert_allclose(np.array(gradient), EPSILON**-0.5, rtol=1e-5)


@pytest.mark.parametrize("implementation", implementations(ACTIVATION))
def test_swiglu_at_its_ends(implementation: str) -> None:
    """A gate far below zero gives zero, and one far above zero gives gate times x."""
    hidden = mx.array([[-1e4, -80.0, 0.0, 80.0, 1e4, 1.0, 1.0, 3.0, 1.0, 1.0]])
    outputs, gradients = mx.vjp(
        lambda x: ACTIVATION(implementation, x, activation="swiglu"), [hidden], [mx.ones((1, 5))]
    )
    np.testing.assert_allclose(np.array(outputs[0])[0], [0, 0, 0, 80, 1e4], atol=1e-6)
    assert np.isfinite(np.array(gradients[0])).all()


@pytest.mark.parametrize("implementation", implementations(CROSS_ENTROPY))
def test_extreme_logits(implementation: str) -> None:
    """Logits of plus and minus 1000: the loss is zero for a right prediction, and the difference for a wrong one."""
    hidden, head = np.array([[1000.0], [-1000.0], [0.0]]), np.array([[1.0], [-1.0], [0.5]])
    arrays = [rounded(array, "float32")[0] for array in (hidden, head)]
    for target in ([0, 1, 2], [1, 0, 2], [2, 2, 0]):
        losses, gradients = mx.vjp(
            lambda h, w, target=target: CROSS_ENTROPY(implementation, h, w, mx.array(target)), arrays, [mx.ones(3)]
        )
        exact = CROSS_ENTROPY.proof.formula(
            {"hidden": hidden, "head": head, "target": np.array(target)}, {"losses": np.ones(3)}, {}
        )
        assert_close(losses[0], exact["losses"], "cross_entropy", "float32")
        for name, gradient in zip(("hidden", "head"), gradients, strict=True):
            assert_close(gradient, exact[f"gradient of {name}"], "cross_entropy gradient", "float32")


@pytest.mark.parametrize("implementation", implementations(ACTIVATION))
@pytest.mark.parametrize("activation", ["relu2", "swiglu"])
def test_nan_is_not_taken_for_a_number_by_an_activation(implementation: str, activation: str) -> None:
    hidden = mx.ones((2, 40)).at[0, 3].multiply(mx.nan)
    result = np.array(ACTIVATION(implementation, hidden, activation=activation))
    assert np.isnan(result).sum() == 1 and np.isnan(result[0, 3])
    gradient = mx.grad(lambda x: ACTIVATION(implementation, x, activation=activation).sum())(hidden)
    assert np.isnan(np.array(gradient)[0, 3])


@pytest.mark.parametrize("implementation", implementations(CROSS_ENTROPY))
@pytest.mark.parametrize("row", [0, 5, 39])
def test_a_row_of_the_head_that_is_nan_makes_every_loss_nan(implementation: str, row: int) -> None:
    head = mx.ones((40, 8)).at[row].multiply(mx.nan)
    assert np.isnan(np.array(CROSS_ENTROPY(implementation, mx.ones((3, 8)), head, mx.array([1, 2, 7])))).all()
