"""Weights to measure with."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.parameters import initialize


def nonzero_weights(config: ModelConfig) -> dict[str, np.ndarray]:
    """Those that a run begins with, but random where it begins with zeros.

    So every part has a say in the loss, and nothing is timed on zeros, which some processors multiply faster.
    """
    generator, deviation = np.random.default_rng(0), np.float32(config.width**-0.5)
    weights = {name: np.array(array) for name, array in initialize(config, 0).items()}
    return {
        name: array if array.any() else deviation * generator.standard_normal(array.shape, dtype=np.float32)
        for name, array in weights.items()
    }


def nonzero_parameters(config: ModelConfig) -> dict[str, mx.array]:
    """The same in MLX."""
    return {name: mx.array(array) for name, array in nonzero_weights(config).items()}
