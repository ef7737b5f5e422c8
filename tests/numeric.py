"""Numbers for tests: random arrays that MLX and float64 numpy see alike, and closeness by the one table."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_tiny.tolerances import bounds


def to_float64(array: mx.array) -> np.ndarray:
    """The values of an MLX array of any floating type."""
    wide = array if array.dtype in (mx.float32, mx.float64) else array.astype(mx.float32)
    return np.array(wide).astype(np.float64)


def rounded(values: np.ndarray, dtype: str) -> tuple[mx.array, np.ndarray]:
    """`values` in the type `dtype`, and the float64 numbers that those are exactly."""
    array = mx.array(values.astype(np.float32)).astype(getattr(mx, dtype))
    return array, to_float64(array)


def normal(generator: np.random.Generator, shape: tuple[int, ...], dtype: str = "float32", scale: float = 1.0):
    """Random normal numbers as `rounded` gives them."""
    return rounded(scale * generator.standard_normal(shape), dtype)


def assert_close(got: mx.array | np.ndarray, expected: np.ndarray, operation: str, dtype: str, what: str = "") -> None:
    """Compare by the table's bounds for an operation in a type."""
    got = to_float64(got) if isinstance(got, mx.array) else got
    excess = bounds(operation, dtype).excess(got, expected)
    assert excess <= 1, f"{what or operation} in {dtype} is off by {excess:.3g} times what {operation!r} allows"
