"""Squared ReLU and SwiGLU, and their gradients, against float64 formulas."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from numeric import assert_close, normal

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import why_not_compiled
from mlx_tiny.ops.activation import activate

PATHS = [("plain", "float32"), ("plain", "float16"), ("plain", "bfloat16"), ("cpu", "float32"), ("auto", "float32")]
ACTIVATIONS = ("relu2", "swiglu")
compiles = pytest.mark.skipif(why_not_compiled() is not None, reason="MLX does not compile here")


def reference(hidden: np.ndarray, cotangent: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """The result and the gradient."""
    if activation == "relu2":
        positive = np.maximum(hidden, 0)
        return positive**2, 2 * positive * cotangent
    gate, up = np.split(hidden, 2, axis=-1)
    sigmoid = 1 / (1 + np.exp(-gate))
    slope = sigmoid * (1 + gate * (1 - sigmoid))
    return gate * sigmoid * up, np.concatenate([cotangent * up * slope, cotangent * gate * sigmoid], axis=-1)


def results(hidden: mx.array, cotangent: mx.array, activation: str, implementation: str) -> list[mx.array]:
    (output,), (gradient,) = mx.vjp(
        lambda hidden: [activate(hidden, activation, implementation=implementation)], [hidden], [cotangent]
    )
    return [output, gradient]


def case(activation: str, dtype: str = "float32", scale: float = 1.0):
    generator = np.random.default_rng(0)
    hidden = normal(generator, (2, 7, 34), dtype, scale)
    return hidden, normal(generator, (2, 7, 17 if activation == "swiglu" else 34), dtype)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_reference_has_the_gradient_of_its_own_output(activation: str) -> None:
    generator = np.random.default_rng(0)
    hidden, cotangent = (
        generator.standard_normal((3, 4)),
        generator.standard_normal((3, 2 if activation == "swiglu" else 4)),
    )
    gradient = reference(hidden, cotangent, activation)[1]
    for index in np.ndindex(hidden.shape):
        change = []
        for step in (1e-6, -1e-6):
            moved = hidden.copy()
            moved[index] += step
            change.append((reference(moved, cotangent, activation)[0] * cotangent).sum())
        assert gradient[index] == pytest.approx((change[0] - change[1]) / 2e-6, abs=1e-7)


@pytest.mark.parametrize("scale", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("implementation", "dtype"), PATHS)
def test_results_and_gradients(implementation: str, dtype: str, activation: str, scale: float) -> None:
    (hidden, exact), (cotangent, exact_cotangent) = case(activation, dtype, scale)
    got = results(hidden, cotangent, activation, implementation)
    assert all(array.dtype == hidden.dtype for array in got)
    right = reference(exact, exact_cotangent, activation)
    for name, array, expected in zip(("output", "gradient"), got, right, strict=True):
        assert_close(array, expected, "activation", dtype, name)


@compiles
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_compiled_it_is_the_same(activation: str) -> None:
    (hidden, exact), (cotangent, exact_cotangent) = case(activation)
    got = mx.compile(lambda h, c: results(h, c, activation, "cpu"))(hidden, cotangent)
    for array, expected in zip(got, reference(exact, exact_cotangent, activation), strict=True):
        assert_close(array, expected, "activation", "float32")


@pytest.mark.parametrize("implementation", ["plain", "cpu"])
def test_swiglu_at_its_ends(implementation: str) -> None:
    """A gate far below zero closes, one far above lets through what it gates; zero gives zero."""
    hidden = mx.array([[-1e4, -80.0, 0.0, 80.0, 1e4, 1.0, 1.0, 3.0, 1.0, 1.0]])
    output, gradient = results(hidden, mx.ones((1, 5)), "swiglu", implementation)
    np.testing.assert_allclose(np.array(output)[0], [0, 0, 0, 80, 1e4], atol=1e-6)
    assert np.isfinite(np.array(gradient)).all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(TinyError, match=r"Unknown activation 'gelu'.*relu2 or swiglu"):
        activate(mx.zeros((2, 8)), "gelu")
    with pytest.raises(TinyError, match=r"Unknown implementation 'metal'.*auto, plain, cpu"):
        activate(mx.zeros((2, 8)), "relu2", implementation="metal")
    with pytest.raises(TinyError, match="takes float32"):
        activate(mx.zeros((2, 8), dtype=mx.float16), "relu2", implementation="cpu")
