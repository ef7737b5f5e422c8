"""Orthogonalisation: singular values, float64 recursions, and matrices at the edge."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_tiny.ops.newton_schulz import orthogonalize
from numeric import assert_close, normal, rounded, to_float64

from mlx_tiny.errors import TinyError
from mlx_tiny.ops import newton_schulz

KINDS = ("quintic", "polar_express")
SHAPES = [(1, 1), (1, 7), (7, 1), (6, 6), (5, 12), (12, 5), (32, 64)]
# Where five steps take singular values between 1e-2 and 1 of the Frobenius norm.
ENDS_IN = {"quintic": (0.65, 1.25), "polar_express": (0.85, 1.16)}


def reference(matrix: np.ndarray, kind: str, steps: int = 5) -> np.ndarray:
    """One matrix in float64, as Jordan's and Amsel's papers have it: X <- aX + b(XX')X + c(XX')^2 X."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / np.linalg.norm(x) / {"quintic": 1.0, "polar_express": 1.01}[kind]
    for step in range(steps):
        table = newton_schulz._POLAR_EXPRESS
        a, b, c = (3.4445, -4.7750, 2.0315) if kind == "quintic" else table[min(step, len(table) - 1)]
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ gram @ x
    return x.T if tall else x


def singular_values(bank: mx.array) -> np.ndarray:
    return np.linalg.svd(to_float64(bank), compute_uv=False)


def with_singular_values(values: np.ndarray, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((n, n)))[0] for n in (rows, columns))
    return (left[:, : len(values)] * values) @ right[: len(values)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_published_recursion(kind: str, shape: tuple[int, int]) -> None:
    bank, exact = normal(np.random.default_rng(0), (3, *shape))
    got = orthogonalize(bank, coefficients=kind)
    assert got.shape == bank.shape and got.dtype == bank.dtype
    assert_close(got, np.stack([reference(matrix, kind) for matrix in exact]), "Newton-Schulz", "float32")


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_steps(kind: str, steps: int) -> None:
    bank, exact = normal(np.random.default_rng(1), (1, 4, 9))
    got = orthogonalize(bank, steps=steps, coefficients=kind)
    assert_close(got[0], reference(exact[0], kind, steps), "Newton-Schulz", "float32")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(
    values=st.lists(st.floats(-2, 0).map(lambda power: 10**power), min_size=1, max_size=8),
    spare=st.integers(0, 5),
    transposed=st.booleans(),
)
def test_singular_values_end_near_one(kind: str, values: list[float], spare: int, transposed: bool) -> None:
    spectrum = np.array(values) / np.linalg.norm(values)
    spectrum = spectrum[spectrum >= 1e-2]
    matrix = with_singular_values(spectrum / np.linalg.norm(spectrum), len(spectrum), len(spectrum) + spare)
    bank = rounded((matrix.T if transposed else matrix)[None], "float32")[0]
    found = singular_values(orthogonalize(bank, coefficients=kind))
    lowest, highest = ENDS_IN[kind]
    assert found.min() >= lowest and found.max() <= highest


@pytest.mark.parametrize("kind", KINDS)
def test_directions_are_kept(kind: str) -> None:
    """The polar factor up to the spread of singular values: U S' V' for X = U S V'."""
    bank, exact = normal(np.random.default_rng(2), (1, 5, 11))
    left, _, right = np.linalg.svd(exact[0], full_matrices=False)
    inner = left.T @ to_float64(orthogonalize(bank, coefficients=kind))[0] @ right.T
    assert np.abs(inner - np.diag(np.diagonal(inner))).max() < 1e-4
    assert (np.diagonal(inner) > 0.5).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_bank_is_its_matrices_one_by_one(kind: str, dtype: str) -> None:
    generator = np.random.default_rng(3)
    scales = np.array([1e-6, 1.0, 1e6])[:, None, None]
    bank = rounded(generator.standard_normal((3, 8, 12)) * scales, dtype)[0]
    together = orthogonalize(bank, coefficients=kind)
    alone = mx.concatenate([orthogonalize(bank[i : i + 1], coefficients=kind) for i in range(3)])
    assert_close(together, to_float64(alone), "Newton-Schulz", dtype)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [(4, 4), (1, 7), (7, 1)])
def test_a_zero_matrix_stays_zero_and_does_not_touch_its_neighbours(
    kind: str, dtype: str, shape: tuple[int, int]
) -> None:
    bank = normal(np.random.default_rng(4), (2, *shape), dtype)[0]
    bank[0] = 0
    got = to_float64(orthogonalize(bank, coefficients=kind))
    np.testing.assert_array_equal(got[0], 0)
    assert np.isfinite(got[1]).all() and np.abs(got[1]).max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-37, 1e-30, 1e-10, 1.0, 1e10, 1e30, 1e38])
def test_the_scale_of_the_entries_does_not_matter(kind: str, scale: float) -> None:
    matrix = np.random.default_rng(5).uniform(-1, 1, (1, 6, 9))
    expected = reference(matrix[0], kind)
    assert_close(
        orthogonalize(rounded(matrix * scale, "float32")[0], coefficients=kind)[0], expected, "Newton-Schulz", "float32"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_one_huge_entry_among_tiny_ones(kind: str) -> None:
    matrix = np.full((1, 4, 4), 1e-30)
    matrix[0, 1, 2] = 1e30
    got = to_float64(orthogonalize(rounded(matrix, "float32")[0], coefficients=kind))
    assert np.isfinite(got).all()
    assert ENDS_IN[kind][0] <= got[0, 1, 2] <= ENDS_IN[kind][1]


@pytest.mark.parametrize("kind", KINDS)
def test_rank_one(kind: str) -> None:
    generator = np.random.default_rng(6)
    left, right = generator.standard_normal(6), generator.standard_normal(10)
    got = orthogonalize(rounded(np.outer(left, right)[None], "float32")[0], coefficients=kind)
    found = singular_values(got)[0]
    assert ENDS_IN[kind][0] <= found[0] <= ENDS_IN[kind][1]
    # Rounding may leave other directions about 1e-7 of the first, and five steps raise them by at most 8.2**5.
    assert np.isfinite(found).all()
    unit = np.outer(left / np.linalg.norm(left), right / np.linalg.norm(right))
    assert np.abs((to_float64(got)[0] * unit).sum()) == pytest.approx(found[0], rel=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_is_close_to_float32(kind: str) -> None:
    bank, exact = normal(np.random.default_rng(7), (2, 16, 24), "bfloat16")
    got = orthogonalize(bank, coefficients=kind)
    assert got.dtype == mx.bfloat16
    assert_close(got, np.stack([reference(matrix, kind) for matrix in exact]), "Newton-Schulz", "bfloat16")


def test_parts_of_the_norm_may_be_given() -> None:
    """Of halves of each matrix: largest magnitude, and sum of squares in units of it."""
    bank, exact = normal(np.random.default_rng(8), (3, 6, 10))
    halves = exact.reshape(3, 2, 30)
    largest = np.abs(halves).max(axis=2, keepdims=True)
    parts = np.concatenate([largest, ((halves / largest) ** 2).sum(axis=2, keepdims=True)], axis=2)
    got = orthogonalize(bank, partials_NP2=rounded(parts, "float32")[0])
    assert_close(got, to_float64(orthogonalize(bank)), "Newton-Schulz", "float32")


@pytest.mark.parametrize("dtype", ["float16", "int32", "uint8", "bool_"])
def test_other_types_are_refused(dtype: str) -> None:
    with pytest.raises(TinyError, match="float32 or bfloat16"):
        orthogonalize(mx.ones((1, 3, 3)).astype(getattr(mx, dtype)))


@pytest.mark.parametrize("shape", [(3, 3), (3,), (1, 2, 3, 4), (0, 3, 3), (1, 0, 3), (1, 3, 0)], ids=str)
def test_what_is_no_bank_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(TinyError, match="bank of matrices"):
        orthogonalize(mx.zeros(shape))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TinyError, match="cubic"):
        orthogonalize(mx.zeros((1, 3, 3)), coefficients="cubic")
    with pytest.raises(TinyError, match="'cuda'"):
        orthogonalize(mx.zeros((1, 3, 3)), implementation="cuda")


@pytest.mark.skipif(mx.metal.is_available(), reason="there is a Metal GPU here")
def test_the_kernel_is_refused_where_there_is_no_metal() -> None:
    with pytest.raises(TinyError, match="cannot run here"):
        orthogonalize(mx.zeros((1, 3, 3)), implementation="metal")
    expected = orthogonalize(mx.ones((1, 3, 3)), implementation="plain")
    assert mx.array_equal(orthogonalize(mx.ones((1, 3, 3)), implementation="auto"), expected)
