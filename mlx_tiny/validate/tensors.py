"""What the reference computes with here, and the numbers of MLX's arrays as it takes them."""

from __future__ import annotations

from collections.abc import Mapping

import mlx.core as mx
import torch

from mlx_tiny.validate.arrays import to_float64


def as_torch(arrays: Mapping[str, mx.array], dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """The same numbers, by name: exactly so in float64, and in float32 where ours are no wider."""
    return {name: torch.from_numpy(to_float64(array)).to(dtype) for name, array in arrays.items()}


def description() -> str:
    """Which torch, and where."""
    return f"torch {torch.__version__} on the CPU, {torch.get_num_threads()} threads"
