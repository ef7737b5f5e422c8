"""Random numbers that both sides see alike, and the way of MLX's arrays to the reference."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np
import torch

from mlx_tiny.ops.conformance import to_float64


def normal(generator: np.random.Generator, shape: tuple[int, ...], dtype: str, scale: float = 1.0) -> mx.array:
    """Standard normal numbers times `scale`, rounded to the type."""
    return mx.array(scale * generator.standard_normal(shape), dtype=mx.float32).astype(getattr(mx, dtype))


def as_torch(arrays: Mapping[str, mx.array], dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """The same numbers, by name: exactly so in float64, and in float32 where ours are no wider."""
    return {name: torch.from_numpy(to_float64(array)).to(dtype) for name, array in arrays.items()}


def description() -> str:
    """Which torch, and where."""
    return f"torch {torch.__version__} on the CPU, {torch.get_num_threads()} threads"
