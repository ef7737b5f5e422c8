"""The same weights, batches and states for MLX and PyTorch."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import torch
from numpy_model import random_parameters

from mlx_tiny.config import ModelConfig
from mlx_tiny.tolerances import bounds


def to_torch(arrays: dict[str, np.ndarray], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array).to(dtype) for name, array in arrays.items()}


def to_numpy(array: torch.Tensor | mx.array | np.ndarray | float) -> np.ndarray:
    """The numbers of an array of MLX or PyTorch, in float64."""
    if isinstance(array, torch.Tensor):
        return array.detach().double().numpy()
    return np.array(array).astype(np.float64)


def random_batch(config: ModelConfig, rows: int = 2, seed: int = 0) -> np.ndarray:
    """Integers [B, T+1]."""
    return np.random.default_rng(seed).integers(0, config.vocabulary_size, (rows, config.context + 1)).astype(np.int32)


def weights(config: ModelConfig, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights for all parameters, exact in float32."""
    return random_parameters(config, seed)


def assert_alike(got, expected, operation: str, what: str = "", dtype: str = "float32") -> None:
    """Compare arrays of MLX and PyTorch by the bounds of the table."""
    excess = bounds(operation, dtype).excess(to_numpy(got), to_numpy(expected))
    assert excess <= 1, f"{what or operation} is off by {excess:.3g} times what {operation!r} allows"
