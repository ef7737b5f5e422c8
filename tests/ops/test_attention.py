"""Attention and its gradients against float64 formulas, in every implementation and type."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from numeric import assert_close, normal, rounded, to_float64

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.attention import BLOCK
from mlx_tiny.ops.attention import causal_attention

TYPES = ("float32", "float16", "bfloat16")
# (implementation, dtype): the CPU's own takes float32 alone.
PATHS = [(name, dtype) for name in ("plain", "mlx") for dtype in TYPES] + [("cpu", "float32"), ("auto", "float32")]
B, K = 2, 6
SCALE = 0.7


def reference(query, key, value, scale, cotangent=None):
    """Float64 output, and the three gradients for a cotangent; loops over batch and heads."""
    T, H, S, G = query.shape[1], query.shape[2], key.shape[1], key.shape[2]
    output = np.zeros_like(query)
    gradients = tuple(np.zeros_like(array) for array in (query, key, value))
    allowed = np.arange(S)[None] <= np.arange(S - T, S)[:, None]
    for b in range(query.shape[0]):
        for h in range(H):
            g = h // (H // G)
            scores = np.where(allowed, scale * query[b, :, h] @ key[b, :, g].T, -np.inf)
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            weights /= weights.sum(axis=1, keepdims=True)
            output[b, :, h] = weights @ value[b, :, g]
            if cotangent is None:
                continue
            weight_gradient = cotangent[b, :, h] @ value[b, :, g].T
            score_gradient = weights * (weight_gradient - (weights * weight_gradient).sum(axis=1, keepdims=True))
            gradients[0][b, :, h] += scale * score_gradient @ key[b, :, g]
            gradients[1][b, :, g] += scale * score_gradient.T @ query[b, :, h]
            gradients[2][b, :, g] += weights.T @ cotangent[b, :, h]
    return output, gradients


def check(implementation: str, dtype: str, T: int, S: int, H: int, G: int, seed: int = 0) -> None:
    generator = np.random.default_rng(seed)
    shapes = ((B, T, H, K), (B, S, G, K), (B, S, G, K), (B, T, H, K))
    arrays, exact = zip(*(normal(generator, shape, dtype) for shape in shapes), strict=True)

    def attend(query, key, value):
        return causal_attention(query, key, value, scale=SCALE, implementation=implementation)

    outputs, gradients = mx.vjp(attend, list(arrays[:3]), [arrays[3]])
    expected, expected_gradients = reference(*exact[:3], SCALE, exact[3])
    assert outputs[0].dtype == arrays[0].dtype
    assert_close(outputs[0], expected, "attention", dtype)
    for name, got, right in zip(("query", "key", "value"), gradients, expected_gradients, strict=True):
        assert got.dtype == arrays[0].dtype
        assert_close(got, right, "attention gradient", dtype, f"gradient of the {name}")


def test_the_reference_has_the_gradients_of_its_own_output() -> None:
    generator = np.random.default_rng(0)
    shapes = ((1, 3, 4, 2), (1, 5, 2, 2), (1, 5, 2, 2))
    inputs = [generator.standard_normal(shape) for shape in shapes]
    cotangent = generator.standard_normal(shapes[0])
    _, gradients = reference(*inputs, SCALE, cotangent)
    for which, gradient in enumerate(gradients):
        for index in np.ndindex(gradient.shape):
            change = []
            for step in (1e-6, -1e-6):
                moved = [array.copy() for array in inputs]
                moved[which][index] += step
                change.append((reference(*moved, SCALE)[0] * cotangent).sum())
            assert gradient[index] == pytest.approx((change[0] - change[1]) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("T", [1, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3])
@pytest.mark.parametrize(("implementation", "dtype"), PATHS)
def test_output_and_gradients_at_the_block_s_edges(implementation: str, dtype: str, T: int) -> None:
    check(implementation, dtype, T, T, 2, 1)


@pytest.mark.parametrize(("H", "G"), [(1, 1), (4, 4), (4, 2), (6, 2), (4, 1)])
@pytest.mark.parametrize(("implementation", "dtype"), PATHS)
def test_neighbouring_query_heads_share_a_key_head(implementation: str, dtype: str, H: int, G: int) -> None:
    check(implementation, dtype, 9, 9, H, G, seed=1)


@pytest.mark.parametrize(("T", "S"), [(1, 2), (1, 9), (2, 9), (5, 6), (7, 71)])
@pytest.mark.parametrize(("implementation", "dtype"), [path for path in PATHS if path[0] != "cpu"])
def test_queries_are_the_last_positions(implementation: str, dtype: str, T: int, S: int) -> None:
    check(implementation, dtype, T, S, 4, 2, seed=2)


@pytest.mark.parametrize("implementation", ["plain", "mlx", "cpu"])
def test_extreme_scores_in_float32(implementation: str) -> None:
    generator = np.random.default_rng(3)
    (query, exact_query), (key, exact_key) = (normal(generator, (1, 70, 2, K), scale=25) for _ in range(2))
    value, exact_value = normal(generator, (1, 70, 2, K))
    assert np.abs(np.einsum("bthk,bshk->bhts", exact_query, exact_key)).max() > 1e3
    cotangent, exact_cotangent = normal(generator, (1, 70, 2, K))
    outputs, gradients = mx.vjp(
        lambda *inputs: causal_attention(*inputs, scale=1.0, implementation=implementation),
        [query, key, value],
        [cotangent],
    )
    expected, expected_gradients = reference(exact_query, exact_key, exact_value, 1.0, exact_cotangent)
    assert_close(outputs[0], expected, "attention of extreme scores", "float32")
    for got, right in zip(gradients, expected_gradients, strict=True):
        assert_close(got, right, "attention of extreme scores", "float32")


@pytest.mark.parametrize(("implementation", "dtype"), PATHS)
def test_extreme_scores_of_one_sign_pick_one_value(implementation: str, dtype: str) -> None:
    """Scores of 0 and 1000 leave no doubt even where the type rounds them."""
    T = 5
    query = mx.full((1, T, 1, 2), 10.0, dtype=getattr(mx, dtype))
    key = mx.zeros((1, T, 1, 2), dtype=getattr(mx, dtype))
    key[:, 0] = 50.0
    value, exact = normal(np.random.default_rng(0), (1, T, 1, 2), dtype)
    got = causal_attention(query, key, value, scale=1.0, implementation=implementation)
    assert_close(got, np.broadcast_to(exact[:, :1], exact.shape), "attention", dtype)
    # All 1000 below: the mean, whatever the level.
    got = causal_attention(query, -50 * mx.ones_like(key), value, scale=1.0, implementation=implementation)
    assert_close(got, exact.cumsum(axis=1) / np.arange(1, T + 1)[None, :, None, None], "attention", dtype)


@pytest.mark.parametrize(("implementation", "dtype"), PATHS)
def test_equal_values_come_out_as_they_are(implementation: str, dtype: str) -> None:
    generator = np.random.default_rng(4)
    query, key = normal(generator, (1, 70, 2, K), dtype)[0], normal(generator, (1, 70, 1, K), dtype)[0]
    value, exact = rounded(np.full((1, 70, 1, K), 3.25), dtype)
    got = causal_attention(query, key, value, scale=1.0, implementation=implementation)
    assert_close(got, np.broadcast_to(exact, (1, 70, 2, K)), "attention", dtype)


@pytest.mark.parametrize(("implementation", "dtype"), PATHS)
def test_the_future_has_no_weight_at_all(implementation: str, dtype: str) -> None:
    generator = np.random.default_rng(5)
    T, first = 2 * BLOCK + 3, BLOCK + 7
    query, key, value = (normal(generator, (1, T, 2, K), dtype)[0] for _ in range(3))
    changed_key, changed_value = key * 1, value * 1
    changed_key[:, first:], changed_value[:, first:] = 100.0, -100.0
    before, after = (
        to_float64(causal_attention(query, k, v, scale=1.0, implementation=implementation))
        for k, v in ((key, value), (changed_key, changed_value))
    )
    np.testing.assert_array_equal(before[:, :first], after[:, :first])
    assert (before[:, first:] != after[:, first:]).any()


@pytest.mark.parametrize(
    ("query", "key", "value", "implementation", "message"),
    [
        ((1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4), "fast", "Unknown attention implementation"),
        ((1, 2, 4), (1, 2, 4), (1, 2, 4), "plain", "four axes"),
        ((1, 2, 3, 4), (1, 2, 2, 4), (1, 2, 2, 4), "plain", "do not fit"),
        ((1, 3, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4), "plain", "do not fit"),
        ((1, 2, 2, 4), (1, 2, 2, 6), (1, 2, 2, 6), "plain", "do not fit"),
        ((1, 2, 2, 4), (1, 2, 2, 4), (1, 2, 1, 4), "plain", "do not fit"),
        ((2, 2, 2, 4), (1, 2, 2, 4), (1, 2, 2, 4), "plain", "do not fit"),
    ],
)
def test_what_does_not_fit_is_refused(query, key, value, implementation: str, message: str) -> None:
    with pytest.raises(TinyError, match=message):
        causal_attention(mx.zeros(query), mx.zeros(key), mx.zeros(value), scale=1.0, implementation=implementation)


def test_the_cpu_s_path_refuses_what_it_cannot_compute() -> None:
    for T, dtype in ((2, mx.float32), (4, mx.bfloat16)):
        with pytest.raises(TinyError, match="cpu"):
            causal_attention(
                mx.zeros((1, T, 2, 4), dtype),
                mx.zeros((1, 4, 2, 4), dtype),
                mx.zeros((1, 4, 2, 4), dtype),
                scale=1.0,
                implementation="cpu",
            )


@pytest.mark.parametrize(("T", "filled", "S"), [(1, 1, 9), (1, 6, 9), (3, 6, 9), (1, 9, 9), (4, 4, 4)])
@pytest.mark.parametrize("implementation", ["auto", "plain", "mlx"])
def test_room_that_nothing_fills_weighs_nothing(implementation: str, T: int, filled: int, S: int) -> None:
    generator = np.random.default_rng(S)
    query, key, value = (
        mx.array(generator.standard_normal((2, n, h, 32)).astype(np.float32)) for n, h in ((T, 4), (S, 2), (S, 2))
    )
    empty = mx.full((2, S - filled, 2, 32), 1e6)
    roomy_key, roomy_value = (mx.concatenate([array[:, :filled], empty], axis=1) for array in (key, value))
    got = causal_attention(
        query, roomy_key, roomy_value, scale=0.2, implementation=implementation, filled=mx.array(filled)
    )
    expected = causal_attention(query, key[:, :filled], value[:, :filled], scale=0.2, implementation="plain")
    np.testing.assert_allclose(np.array(got), np.array(expected), rtol=2e-6, atol=2e-6)
