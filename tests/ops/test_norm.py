"""RMSNorm and its gradient against float64 formulas."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from numeric import assert_close, normal

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import why_not_compiled
from mlx_tiny.ops.norm import rms_norm

EPSILON = 1e-5
PATHS = [("mlx", "float32"), ("mlx", "float16"), ("mlx", "bfloat16"), ("cpu", "float32"), ("auto", "float32")]
compiles = pytest.mark.skipif(why_not_compiled() is not None, reason="MLX does not compile here")


def reference(x: np.ndarray, cotangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The normalised rows and the gradient, written out from the quotient's derivative."""
    D = x.shape[-1]
    root = np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON)
    return x / root, cotangent / root - x * (cotangent * x).sum(-1, keepdims=True) / (D * root**3)


def results(x: mx.array, cotangent: mx.array, implementation: str) -> list[mx.array]:
    (output,), (gradient,) = mx.vjp(lambda x: [rms_norm(x, EPSILON, implementation=implementation)], [x], [cotangent])
    return [output, gradient]


def test_the_reference_has_the_gradient_of_its_own_output() -> None:
    generator = np.random.default_rng(0)
    x, cotangent = generator.standard_normal((2, 3, 4))
    for index in np.ndindex(x.shape):
        moved = [x + step * (np.indices(x.shape) == np.reshape(index, (-1, 1, 1))).all(0) for step in (1e-6, -1e-6)]
        change = [(reference(m, cotangent)[0] * cotangent).sum() for m in moved]
        assert reference(x, cotangent)[1][index] == pytest.approx((change[0] - change[1]) / 2e-6, abs=1e-8)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("shape", [(1, 7), (2, 3, 16), (5, 257), (2, 9, 300)])
@pytest.mark.parametrize(("implementation", "dtype"), PATHS)
def test_rows_and_gradients(implementation: str, dtype: str, shape: tuple[int, ...], scale: float) -> None:
    """Rows of 300 are summed in parts, rows of 257 in one."""
    generator = np.random.default_rng(shape[-1])
    (x, exact), (cotangent, exact_cotangent) = normal(generator, shape, dtype, scale), normal(generator, shape, dtype)
    got = results(x, cotangent, implementation)
    assert all(array.dtype == x.dtype for array in got)
    for name, array, expected in zip(("output", "gradient"), got, reference(exact, exact_cotangent), strict=True):
        assert_close(array, expected, "norm", dtype, name)


@compiles
def test_compiled_it_is_the_same() -> None:
    generator = np.random.default_rng(1)
    (x, exact), (cotangent, exact_cotangent) = normal(generator, (2, 65, 128)), normal(generator, (2, 65, 128))
    got = mx.compile(lambda x, c: results(x, c, "cpu"))(x, cotangent)
    for array, expected in zip(got, reference(exact, exact_cotangent), strict=True):
        assert_close(array, expected, "norm", "float32")


@pytest.mark.parametrize("implementation", ["mlx", "cpu"])
def test_rows_of_zeros_stay_zero(implementation: str) -> None:
    output, gradient = results(mx.zeros((2, 8)), mx.ones((2, 8)), implementation)
    assert not np.array(output).any()
    np.testing.assert_allclose(np.array(gradient), EPSILON**-0.5, rtol=1e-5)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(TinyError, match=r"Unknown implementation 'fast'.*auto, mlx, cpu"):
        rms_norm(mx.zeros((2, 8)), EPSILON, implementation="fast")
    with pytest.raises(TinyError, match="takes float32"):
        rms_norm(mx.zeros((2, 8), dtype=mx.bfloat16), EPSILON, implementation="cpu")
