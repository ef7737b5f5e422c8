"""Sums and maxima of rows, and the exponential for the CPU."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.linux.rows import _by_polynomial, row_maximum, row_sum, shifted_exponential

LENGTHS = (1, 2, 15, 16, 17, 64, 256, 257, 300, 1000, 2048, 2051)


@pytest.mark.parametrize("n", LENGTHS)
def test_sums_and_maxima(n: int) -> None:
    x = np.random.default_rng(n).standard_normal((2, 3, n)).astype(np.float32)
    total, largest = np.array(row_sum(mx.array(x))), np.array(row_maximum(mx.array(x)))
    np.testing.assert_allclose(total, x.sum(-1, keepdims=True, dtype=np.float64), atol=1e-6 * n)
    np.testing.assert_array_equal(largest, x.max(-1, keepdims=True))


@pytest.mark.parametrize("n", [1000, 2048])
def test_what_is_small_beside_the_first_is_not_lost(n: int) -> None:
    """Added one by one to 1 in float32, each of these numbers would be lost, and the sum would be 1."""
    small = 2.9e-8
    x = mx.concatenate([mx.ones((1, 1)), mx.full((1, n - 1), small)], axis=1)
    assert row_sum(x).item() - 1 == pytest.approx((n - 1) * small, rel=0.1)


@pytest.mark.parametrize("exponential", [shifted_exponential, _by_polynomial], ids=["as it is used", "uncompiled"])
def test_the_exponential(exponential) -> None:
    x = np.linspace(-40, 0, 20001).astype(np.float32)
    got = np.array(exponential(mx.array(x), mx.array(0.0)), dtype=np.float64)
    exact = np.exp(x.astype(np.float64))
    near = x > -16
    assert np.abs(got[near] / exact[near] - 1).max() < 6e-6
    assert np.abs(got - exact).max() < 2e-6 and got.min() >= 0 and got[-1] == pytest.approx(1, abs=1e-7)


def test_masked_scores_weigh_nothing() -> None:
    got = shifted_exponential(mx.array([-3.4e38, -1e30, -100.0]), mx.array(3.0))
    assert np.abs(np.array(got)).max() < 1e-19
