"""The formulas that `bench kernels` trusts: gradients by finite differences, updates by their definition."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from mlx_tiny.bench import references
from mlx_tiny.bench.references import Arrays

STEP = 1e-5


def drawn(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Arrays:
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal(shape) for name, shape in shapes.items()}


def assert_gradients(formula: Callable[[Arrays, Arrays], Arrays], inputs: Arrays, cotangents: Arrays) -> None:
    """Every gradient that the formula gives is the slope of its own outputs."""
    found = formula(inputs, cotangents)
    gradients = {name: array for name, array in found.items() if name.startswith("gradient of ")}
    assert gradients

    def value(changed: Arrays) -> float:
        outputs = formula(changed, cotangents)
        return sum(float((outputs[name] * cotangent).sum()) for name, cotangent in cotangents.items())

    for name, gradient in gradients.items():
        array = inputs[name.removeprefix("gradient of ")]
        assert gradient.shape == array.shape
        for place in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = array.copy()
                moved[place] += sign * STEP
                ends.append(value({**inputs, name.removeprefix("gradient of "): moved}))
            assert gradient[place] == pytest.approx((ends[0] - ends[1]) / (2 * STEP), abs=1e-6)


def test_cross_entropy() -> None:
    inputs = drawn({"hidden": (2, 3, 4), "head": (5, 4)})
    inputs["target"] = np.array([[0, 4, 2], [2, 2, 1]])
    cotangents = drawn({"losses": (2, 3)}, seed=1)
    assert_gradients(references.cross_entropy, inputs, cotangents)
    logits = inputs["hidden"] @ inputs["head"].T
    chosen = np.take_along_axis(logits, inputs["target"][..., None], axis=-1)[..., 0]
    losses = references.cross_entropy(inputs, cotangents)["losses"]
    np.testing.assert_allclose(losses, np.log(np.exp(logits).sum(axis=-1)) - chosen)


@pytest.mark.parametrize("activation", ["relu2", "swiglu"])
def test_mlp(activation: str) -> None:
    rows = 12 if activation == "swiglu" else 6
    inputs = drawn({"x": (1, 3, 4), "first": (rows, 4), "second": (4, 6)})
    formula = functools.partial(references.mlp, activation=activation)
    assert_gradients(formula, inputs, drawn({"output": (1, 3, 4)}, seed=1))


def test_attention_and_heads_have_the_names_that_operations_use() -> None:
    shapes = {"query": (1, 3, 2, 4), "key": (1, 3, 1, 4), "value": (1, 3, 1, 4)}
    assert_gradients(references.attention, drawn(shapes), drawn({"mixed": (1, 3, 2, 4)}, seed=1))
    inputs = drawn({"projected": (1, 3, 4, 4), "query norm weight": (4,), "key norm weight": (4,)})
    angles = np.arange(6.0).reshape(3, 1, 2)
    formula = functools.partial(references.heads, key_value_heads=1, epsilon=1e-6)
    cotangents = drawn({"query": (1, 3, 2, 4), "key": (1, 3, 1, 4), "value": (1, 3, 1, 4)}, seed=1)
    assert_gradients(formula, {**inputs, "cosine": np.cos(angles), "sine": np.sin(angles)}, cotangents)


@pytest.mark.parametrize(("coefficients", "low", "high"), [("polar_express", 0.8, 1.2), ("quintic", 0.6, 1.3)])
def test_newton_schulz_moves_singular_values_near_one(coefficients: str, low: float, high: float) -> None:
    bank = drawn({"bank": (2, 5, 9)})
    moved = references.newton_schulz(bank, coefficients)["bank"]
    left, values, right = np.linalg.svd(bank["bank"], full_matrices=False)
    assert values.max() / values.min() > 2
    turned = left.swapaxes(1, 2) @ moved @ right.swapaxes(1, 2)
    diagonal = np.diagonal(turned, axis1=1, axis2=2)
    assert low < diagonal.min() and diagonal.max() < high
    np.testing.assert_allclose(turned, diagonal[:, :, None] * np.eye(5), atol=1e-9)


def test_adamw_by_hand() -> None:
    inputs = {"weight.w": 3.0, "gradient.w": 2.0, "first.w": 0.5, "second.w": 0.25}
    found = references.adamw({k: np.array([v]) for k, v in inputs.items()}, 0.1, (0.9, 0.95), 1e-8, step=2)
    first, second = 0.9 * 0.5 + 0.1 * 2, 0.95 * 0.25 + 0.05 * 4
    moved = 3 - 0.1 * (first / (1 - 0.81)) / (np.sqrt(second / (1 - 0.9025)) + 1e-8)
    assert found["first.w"] == pytest.approx(first) and found["second.w"] == pytest.approx(second)
    assert found["weight.w"] == pytest.approx(moved)
