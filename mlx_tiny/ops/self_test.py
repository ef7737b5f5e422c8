"""Kernels held against the plain path on the machine where they are to serve, before they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.tolerances import Bounds


def disagreement(
    kernels: Callable[..., Any], plain: Callable[..., Any], inputs: Sequence[mx.array], allowed: Bounds
) -> str | None:
    """Evaluate outputs and gradients both ways, with random cotangents; the first that differs too much, or None.

    Args:
        kernels, plain: the same function of `inputs`; its value is an array or a sequence of arrays.
        inputs: of the type in which the kernels are to serve; the plain path gets them in float32.
        allowed: bounds on every output and gradient.
    """
    generator = np.random.default_rng(0)
    wide = [array.astype(mx.float32) for array in inputs]
    cotangents = [
        mx.array(generator.standard_normal(output.shape), dtype=mx.float32) for output in _listed(plain, wide)
    ]
    right_outputs, right_gradients = mx.vjp(lambda *arrays: _listed(plain, arrays), wide, cotangents)
    narrow = [cotangent.astype(inputs[0].dtype) for cotangent in cotangents]
    outputs, gradients = mx.vjp(lambda *arrays: _listed(kernels, arrays), list(inputs), narrow)
    pairs = {
        "output": zip(outputs, right_outputs, strict=True),
        "gradient": zip(gradients, right_gradients, strict=True),
    }
    for kind, both in pairs.items():
        for index, (got, right) in enumerate(both):
            excess = allowed.excess(np.array(got.astype(mx.float32)), np.array(right))
            if not excess <= 1:
                return f"{kind} {index} is {excess:.1f} times as far from the plain path as {inputs[0].dtype} allows"
    return None


def _listed(function: Callable[..., Any], arrays: Sequence[mx.array]) -> list[mx.array]:
    result = function(*arrays)
    return [result] if isinstance(result, mx.array) else list(result)
