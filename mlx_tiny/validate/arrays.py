"""Random numbers that both sides see alike, and the way of any array to float64."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def normal(generator: np.random.Generator, shape: tuple[int, ...], dtype: str, scale: float = 1.0) -> mx.array:
    """Standard normal numbers times `scale`, rounded to the type."""
    return mx.array(scale * generator.standard_normal(shape), dtype=mx.float32).astype(getattr(mx, dtype))


def to_float64(array: Any) -> Array:
    """The numbers of an array of MLX, numpy or torch, of any floating type."""
    if isinstance(array, mx.array):
        array = np.array(array.astype(mx.float32))
    elif not isinstance(array, np.ndarray):
        array = array.detach().cpu().double().numpy()
    wide: Array = array.astype(np.float64)
    return wide
