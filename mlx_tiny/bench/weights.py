"""Weights for measurements."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.parameters import initialize


def nonzero_weights(config: ModelConfig) -> dict[str, np.ndarray]:
    """The weights of a new model, with random numbers instead of zeros.

    So every part affects the loss, and nothing is timed with zeros, which some processors multiply faster.
    """
    generator, std = np.random.default_rng(0), np.float32(config.width**-0.5)
    weights = {name: np.array(array) for name, array in initialize(config, 0).items()}
    return {
        name: array if array.any() else std * generator.standard_normal(array.shape, dtype=np.float32)
        for name, array in weights.items()
    }


def nonzero_parameters(config: ModelConfig) -> dict[str, mx.array]:
    """The same as arrays of MLX."""
    return {name: mx.array(array) for name, array in nonzero_weights(config).items()}
