"""Bits per byte of the same weights by MLX and PyTorch."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
import torch
from numpy_model import CONFIGS, SMALL, to_mlx

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.model.mixing import gathered
from mlx_tiny.reference.evaluate import evaluate, predictions
from mlx_tiny.training import evaluate as mlx_evaluate

from .alike import assert_alike, to_torch, weights

pytestmark = pytest.mark.torch
TOKENS = np.random.default_rng(0).integers(0, 256, 1000).astype(np.uint16)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_mlx_and_the_reference_measure_the_same_bits(config: ModelConfig) -> None:
    arrays = weights(config)
    got = evaluate(to_torch(arrays), config, TOKENS, 2500)
    expected = mlx_evaluate.evaluate(to_mlx(arrays), config, TOKENS, 2500)
    assert (got.tokens, got.bytes) == (expected.tokens, expected.bytes) == (999, 2500)
    assert_alike(got.bits_per_byte, expected.bits_per_byte, "bits per byte")
    exact = evaluate(to_torch(arrays, torch.float64), config, TOKENS, 2500)
    assert_alike(got.bits_per_byte, exact.bits_per_byte, "bits per byte")


# Around one and two windows of 12, and around the whole.
@pytest.mark.parametrize("limit", [1, 11, 12, 13, 24, 25, 998, 999, 1000, 5000])
@pytest.mark.parametrize("batch_tokens", [1, 36, 4096])
def test_any_number_of_tokens_is_cut_alike(limit: int, batch_tokens: int) -> None:
    arrays = weights(SMALL)
    got = evaluate(to_torch(arrays), SMALL, TOKENS, 999, limit_tokens=limit, batch_tokens=batch_tokens)
    expected = mlx_evaluate.evaluate(to_mlx(arrays), SMALL, TOKENS, 999, limit_tokens=limit)
    assert got.tokens == expected.tokens == min(limit, 999)
    assert_alike(got.nats, expected.nats, "both sides")


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_mixing_asks_of_a_model_is_alike(config: ModelConfig) -> None:
    arrays = weights(config)
    got = np.concatenate(list(predictions(to_torch(arrays), config, TOKENS, batch_tokens=300)), axis=1)
    expected = gathered(mlx_evaluate.predictions(to_mlx(arrays), config, TOKENS))
    assert_alike(got, np.array(expected), "model")
    assert got[0].sum() == pytest.approx(evaluate(to_torch(arrays), config, TOKENS, 1).nats, rel=1e-6)


def test_bfloat16_and_fused_attention_are_passed_on() -> None:
    parameters = to_torch(weights(SMALL))
    exact = evaluate(parameters, SMALL, TOKENS, 999).bits_per_byte
    rough = evaluate(parameters, SMALL, TOKENS, 999, dtype=torch.bfloat16).bits_per_byte
    assert rough != exact
    assert_alike(rough, exact, "model", dtype="bfloat16")
    fused = evaluate(parameters, SMALL, TOKENS, 999, attention="fused").bits_per_byte
    assert_alike(fused, exact, "bits per byte")
    other = mlx_evaluate.evaluate(to_mlx(weights(SMALL)), SMALL, TOKENS, 999, dtype=mx.bfloat16).bits_per_byte
    assert_alike(rough, other, "model", dtype="bfloat16")


@pytest.mark.parametrize(("length", "limit"), [(0, None), (1, None), (5, 0)])
def test_nothing_to_predict_is_an_error(length: int, limit: int | None) -> None:
    with pytest.raises(TinyError, match="too short"):
        evaluate(to_torch(weights(SMALL)), SMALL, TOKENS[:length], 1, limit_tokens=limit)
