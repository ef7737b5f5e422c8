"""The SwiGLU model is one that the architecture `qwen3` represents: its weights fold into qwen3's forward pass."""

from __future__ import annotations

import numpy as np
import pytest
from numpy_model import logits, random_parameters
from numpy_qwen3 import CONFIG, qwen3_logits

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.export.qwen3 import folded

# The norms' epsilon meets a stream of another scale, so the two differ by about epsilon and no more.
LARGEST_DIFFERENCE = 2e-5


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("tied", [False, True])
def test_the_folded_weights_give_the_same_logits(seed: int, tied: bool) -> None:
    config = ModelConfig(**{**CONFIG.__dict__, "tied": tied})
    parameters = random_parameters(config, seed)
    tokens = np.random.default_rng(seed).integers(0, config.vocabulary_size, config.context)
    ours, theirs = logits(parameters, config, tokens), qwen3_logits(folded(parameters, config), config, tokens)
    assert np.abs(ours - theirs).max() <= LARGEST_DIFFERENCE * np.abs(ours).max()


def test_without_the_folding_they_differ() -> None:
    parameters = random_parameters(CONFIG)
    weights = folded({**parameters, "residual_scale": np.ones((CONFIG.layers, 2))}, CONFIG)
    tokens = np.arange(CONFIG.context)
    difference = np.abs(logits(parameters, CONFIG, tokens) - qwen3_logits(weights, CONFIG, tokens)).max()
    assert difference > 100 * LARGEST_DIFFERENCE


def test_a_residual_scale_of_zero_is_represented_and_more_of_them_are_refused() -> None:
    parameters, tokens = random_parameters(CONFIG), np.arange(CONFIG.context)
    parameters["residual_scale"][1, 0] = 0
    ours, theirs = logits(parameters, CONFIG, tokens), qwen3_logits(folded(parameters, CONFIG), CONFIG, tokens)
    assert np.abs(ours - theirs).max() <= LARGEST_DIFFERENCE * np.abs(ours).max()
    parameters["residual_scale"][1] = 0
    with pytest.raises(TinyError, match="up to layer 1"):
        folded(parameters, CONFIG)
