"""Random arrays, and the conversion of MLX arrays to PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import numpy as np
import torch

from mlx_tiny.ops.conformance import to_float64


def normal(generator: np.random.Generator, shape: tuple[int, ...], dtype: str, scale: float = 1.0) -> mx.array:
    """Standard normal numbers times `scale`, rounded to the dtype."""
    return mx.array(scale * generator.standard_normal(shape), dtype=mx.float32).astype(getattr(mx, dtype))


def as_torch(arrays: Mapping[str, mx.array], dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """The same arrays in PyTorch, by name; exact unless `dtype` is narrower than theirs."""
    return {name: torch.from_numpy(to_float64(array)).to(dtype) for name, array in arrays.items()}


def description() -> str:
    """Version of PyTorch, and where it runs."""
    return f"torch {torch.__version__} on the CPU, {torch.get_num_threads()} threads"
