"""Rotary positions: the rotation itself, what it keeps, and what it makes of distances."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx_tiny.ops.rotary import rotary_tables, rotate
from numeric import assert_close, normal, to_float64

TYPES = ("float32", "float16", "bfloat16")
BASE = 10_000.0


def reference(x: np.ndarray, base: float, offset: int = 0, sign: float = 1.0) -> np.ndarray:
    """Each pair (i, i + K/2) as a complex number, turned by t base**(-2i/K); `sign` -1 turns it back."""
    T, K = x.shape[1], x.shape[3]
    angles = np.arange(offset, offset + T)[:, None, None] * base ** (-2 * np.arange(K // 2) / K)
    turned = (x[..., : K // 2] + 1j * x[..., K // 2 :]) * np.exp(sign * 1j * angles)
    return np.concatenate([turned.real, turned.imag], axis=-1)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("T", "K", "offset", "base"), [(1, 2, 0, BASE), (7, 4, 0, BASE), (9, 6, 5, 100.0), (33, 16, 200, BASE)]
)
def test_output_and_gradient(dtype: str, T: int, K: int, offset: int, base: float) -> None:
    generator = np.random.default_rng(0)
    (x, exact), (cotangent, exact_cotangent) = (normal(generator, (2, T, 3, K), dtype) for _ in range(2))
    tables = rotary_tables(T, K, base, offset)
    outputs, gradients = mx.vjp(lambda a: rotate(a, tables), [x], [cotangent])
    assert outputs[0].dtype == x.dtype
    assert_close(outputs[0], reference(exact, base, offset), "rotary", dtype)
    # A rotation's transpose turns back.
    assert_close(gradients[0], reference(exact_cotangent, base, offset, sign=-1), "rotary", dtype)


@pytest.mark.parametrize("dtype", TYPES)
def test_lengths_are_kept(dtype: str) -> None:
    x, exact = normal(np.random.default_rng(1), (2, 50, 2, 8), dtype)
    turned = to_float64(rotate(x, rotary_tables(50, 8, BASE)))
    assert_close(np.linalg.norm(turned, axis=-1), np.linalg.norm(exact, axis=-1), "rotary", dtype)


def test_scores_depend_on_the_distance_alone() -> None:
    T, K = 40, 8
    generator = np.random.default_rng(2)
    query, key = generator.standard_normal(K), generator.standard_normal(K)
    turned = [
        to_float64(rotate(mx.array(np.tile(x, (1, T, 1, 1)).astype(np.float32)), rotary_tables(T, K, BASE)))[0, :, 0]
        for x in (query, key)
    ]
    scores = turned[0] @ turned[1].T
    for distance in range(-T + 1, T):
        same = np.diagonal(scores, distance)
        assert_close(same, np.full_like(same, same[0]), "rotary scores", "float32", f"distance {distance}")
    # And they do depend on it.
    assert np.ptp(scores[0]) > 0.1


def test_an_offset_continues_where_the_last_window_ended() -> None:
    x = normal(np.random.default_rng(3), (1, 12, 2, 8))[0]
    whole = to_float64(rotate(x, rotary_tables(12, 8, BASE)))
    parts = [rotate(x[:, :5], rotary_tables(5, 8, BASE)), rotate(x[:, 5:], rotary_tables(7, 8, BASE, offset=5))]
    np.testing.assert_array_equal(whole, np.concatenate([to_float64(part) for part in parts], axis=1))


def test_the_first_position_is_not_turned() -> None:
    x, exact = normal(np.random.default_rng(4), (1, 1, 2, 8))
    np.testing.assert_array_equal(to_float64(rotate(x, rotary_tables(1, 8, BASE))), exact)
