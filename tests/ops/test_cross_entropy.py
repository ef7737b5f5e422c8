"""Cross-entropy of the head's logits, and its gradients, against float64 formulas."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest
from numeric import assert_close, normal, rounded, to_float64

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import why_not_compiled
from mlx_tiny.ops.cross_entropy import head_cross_entropy

PATHS = [
    ("plain", "float32"),
    ("plain", "float16"),
    ("plain", "bfloat16"),
    ("cpu", "float32"),
    ("auto", "float32"),
    ("auto", "bfloat16"),
]


def reference(hidden, head, target, cotangent):
    """Losses, and gradients of hidden states and head, in float64."""
    logits = hidden @ head.T
    largest = logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits - largest)
    total = exponentials.sum(axis=1, keepdims=True)
    rows = np.arange(len(target))
    losses = (np.log(total) + largest)[:, 0] - logits[rows, target]
    logit_gradient = exponentials / total
    logit_gradient[rows, target] -= 1
    logit_gradient *= cotangent[:, None]
    return losses, logit_gradient @ head, logit_gradient.T @ hidden


def test_the_reference_has_the_gradients_of_its_own_losses() -> None:
    generator = np.random.default_rng(0)
    hidden, head = generator.standard_normal((3, 2)), generator.standard_normal((4, 2))
    target, cotangent = np.array([1, 1, 3]), generator.standard_normal(3)
    gradients = reference(hidden, head, target, cotangent)[1:]
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            change = []
            for step in (1e-6, -1e-6):
                moved = [hidden.copy(), head.copy()]
                moved[which][index] += step
                change.append(reference(*moved, target, cotangent)[0] @ cotangent)
            assert gradient[index] == pytest.approx((change[0] - change[1]) / 2e-6, abs=1e-8)


@pytest.mark.parametrize(("N", "D", "V"), [(1, 1, 2), (7, 5, 64), (33, 16, 65), (20, 8, 512), (65, 9, 1000)])
@pytest.mark.parametrize(("implementation", "dtype"), PATHS)
def test_losses_and_gradients(implementation: str, dtype: str, N: int, D: int, V: int) -> None:
    generator = np.random.default_rng(N)
    (hidden, exact_hidden), (head, exact_head) = (normal(generator, shape, dtype) for shape in ((N, D), (V, D)))
    cotangent, exact_cotangent = normal(generator, (N,))
    # Half of the targets fall on one row, so that its gradient has many terms.
    target = np.where(np.arange(N) % 2, V // 2, generator.integers(0, V, N))
    losses, gradients = mx.vjp(
        lambda h, w: head_cross_entropy(h, w, mx.array(target), implementation=implementation),
        [hidden, head],
        [cotangent],
    )
    expected = reference(exact_hidden, exact_head, target, exact_cotangent)
    assert losses[0].dtype == mx.float32
    assert_close(losses[0], expected[0], "cross-entropy", dtype)
    for name, got, right in zip(("hidden", "head"), gradients, expected[1:], strict=True):
        assert_close(got, right, "cross-entropy gradient", dtype, f"gradient of {name}")


@pytest.mark.parametrize("implementation", ["plain", "cpu"])
def test_extreme_logits(implementation: str) -> None:
    """Logits of plus and minus 1000: sure hits cost nothing, sure misses their distance."""
    hidden, exact_hidden = rounded(np.array([[1000.0], [-1000.0], [0.0]]), "float32")
    head, exact_head = rounded(np.array([[1.0], [-1.0], [0.5]]), "float32")
    for target in ([0, 1, 2], [1, 0, 2], [2, 2, 0]):
        losses, gradients = mx.vjp(
            lambda h, w, target=target: head_cross_entropy(h, w, mx.array(target), implementation=implementation),
            [hidden, head],
            [mx.ones(3)],
        )
        expected = reference(exact_hidden, exact_head, np.array(target), np.ones(3))
        assert_close(losses[0], expected[0], "cross-entropy", "float32")
        for got, right in zip(gradients, expected[1:], strict=True):
            assert_close(got, right, "cross-entropy gradient", "float32")


def certain(V: int):
    """Inputs and float64 reference of a model that gives every target more than nine parts in ten."""
    N, D = 64, 32
    generator = np.random.default_rng(V)
    target = generator.integers(0, V, N)
    (head, exact_head), (cotangent, exact_cotangent) = normal(generator, (V, D)), normal(generator, (N,))
    hidden, exact_hidden = rounded(0.6 * exact_head[target], "float32")
    expected = reference(exact_hidden, exact_head, target, exact_cotangent)
    assert np.exp(-expected[0]).mean() > 0.9
    return (hidden, head, cotangent, target), expected


@pytest.mark.parametrize("V", [512, 2048])
def test_a_model_that_is_certain_has_small_losses_and_exact_gradients(V: int) -> None:
    """Its probabilities are near 1, where the gradient p - 1 of a p that is rounded first has few digits left."""
    (hidden, head, cotangent, target), expected = certain(V)
    losses, gradients = mx.vjp(
        lambda h, w: head_cross_entropy(h, w, mx.array(target), implementation="cpu"), [hidden, head], [cotangent]
    )
    np.testing.assert_allclose(to_float64(losses[0]), expected[0], atol=3e-6)
    for got, right in zip(gradients, expected[1:], strict=True):
        assert_close(got, right, "cross-entropy gradient", "float32")


@pytest.mark.skipif(why_not_compiled() is not None, reason="MLX does not compile here")
def test_compiled_it_is_the_same() -> None:
    (hidden, head, cotangent, target), expected = certain(2048)

    def both_ways(h: mx.array, w: mx.array, y: mx.array, c: mx.array) -> list[mx.array]:
        losses, gradients = mx.vjp(lambda h, w: head_cross_entropy(h, w, y, implementation="cpu"), [h, w], [c])
        return [*losses, *gradients]

    loss, *gradients = mx.compile(both_ways)(hidden, head, mx.array(target), cotangent)
    assert_close(loss, expected[0], "cross-entropy", "float32")
    for got, right in zip(gradients, expected[1:], strict=True):
        assert_close(got, right, "cross-entropy gradient", "float32")


@pytest.mark.parametrize("implementation", ["plain", "cpu"])
@pytest.mark.parametrize("V", [2, 512, 777])
def test_no_knowledge_costs_the_logarithm_of_the_vocabulary(implementation: str, V: int) -> None:
    losses = head_cross_entropy(
        mx.ones((3, 4)), mx.zeros((V, 4)), mx.array([0, V // 2, V - 1]), implementation=implementation
    )
    np.testing.assert_allclose(to_float64(losses), math.log(V), rtol=2.0**-23)


def test_implementations_that_do_not_exist_or_do_not_fit_are_refused() -> None:
    with pytest.raises(TinyError, match="implementation"):
        head_cross_entropy(mx.ones((1, 2)), mx.ones((3, 2)), mx.array([0]), implementation="fast")
    with pytest.raises(TinyError, match="float32"):
        half = mx.ones((1, 2), dtype=mx.bfloat16), mx.ones((3, 2), dtype=mx.bfloat16)
        head_cross_entropy(*half, mx.array([0]), implementation="cpu")
