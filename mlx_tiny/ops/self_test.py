"""Kernels held against the plain path on the machine where they are to serve, before they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.tolerances import bounds


def disagreement(
    kernels: Callable[..., Any], plain: Callable[..., Any], inputs: Sequence[mx.array], operation: str
) -> str | None:
    """Evaluate outputs and gradients both ways, with random cotangents; the first that differs too much, or None.

    Args:
        kernels, plain: the same function of `inputs`; its value is an array or a sequence of arrays.
        inputs: of the type in which the kernels are to serve; the plain path gets them in float32.
        operation: whose bounds in that type every output and gradient keeps.
    """
    generator = np.random.default_rng(0)
    dtype = inputs[0].dtype
    wide = [array.astype(mx.float32) for array in inputs]
    shapes = [output.shape for output in _listed(plain, wide)]
    cotangents = [mx.array(generator.standard_normal(shape), dtype=mx.float32) for shape in shapes]
    right_outputs, right_gradients = mx.vjp(lambda *arrays: _listed(plain, arrays), wide, cotangents)
    narrow = [cotangent.astype(dtype) for cotangent in cotangents]
    outputs, gradients = mx.vjp(lambda *arrays: _listed(kernels, arrays), list(inputs), narrow)
    return difference("output", outputs, right_outputs, operation, dtype) or difference(
        "gradient", gradients, right_gradients, operation, dtype
    )


def difference(
    what: str, got: Sequence[mx.array], right: Sequence[mx.array], operation: str, dtype: mx.Dtype
) -> str | None:
    """The first array that is further from the right one than the table of tolerances allows, or None."""
    allowed = bounds(operation, dtype_name(dtype))
    for index, (result, expected) in enumerate(zip(got, right, strict=True)):
        excess = allowed.excess(np.array(result.astype(mx.float32)), np.array(expected.astype(mx.float32)))
        if not excess <= 1:
            return f"{what} {index} is {excess:.1f} times as far from the plain path as {dtype_name(dtype)} allows"
    return None


def dtype_name(dtype: mx.Dtype) -> str:
    """The type's name in the table of tolerances, such as "float32"."""
    return str(dtype).removeprefix("mlx.core.")


def _listed(function: Callable[..., Any], arrays: Sequence[mx.array]) -> list[mx.array]:
    result = function(*arrays)
    return [result] if isinstance(result, mx.array) else list(result)
