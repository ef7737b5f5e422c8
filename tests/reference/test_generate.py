"""MLX and PyTorch generate the same likeliest tokens; random tokens follow the probabilities."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from numpy_model import CONFIGS, SMALL, to_mlx

from mlx_tiny.config import ModelConfig, Sampling
from mlx_tiny.errors import TinyError
from mlx_tiny.model import generate as mlx_generate
from mlx_tiny.reference.generate import draw, generate_tokens

from .alike import to_torch, weights

pytestmark = pytest.mark.torch
PROMPT = [1, 2, 3]
LENGTH = 40
DRAWS = 4000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_mlx_and_the_reference_write_the_same_tokens(config: ModelConfig, dtype: torch.dtype) -> None:
    """More tokens than the context, so that the window is cut."""
    arrays = weights(config, seed=4)
    got = list(generate_tokens(to_torch(arrays, dtype), config, PROMPT, max_tokens=LENGTH))
    greedy = Sampling(temperature=0, max_tokens=LENGTH)
    assert got == list(mlx_generate.generate_tokens(to_mlx(arrays), config, PROMPT, greedy))
    assert len(got) == LENGTH > 3 * config.context


def text(**sampling: Any) -> list[int]:
    return list(generate_tokens(to_torch(weights(SMALL)), SMALL, PROMPT, **{"max_tokens": 20, **sampling}))


def test_a_seed_decides_the_draws() -> None:
    assert text(temperature=1.0, seed=1) == text(temperature=1.0, seed=1) != text(temperature=1.0, seed=2)


def test_the_smallest_set_is_the_likeliest_token() -> None:
    assert text(temperature=1.0, top_p=1e-9, seed=5) == text()


def test_a_stop_token_ends_the_text() -> None:
    whole = text()
    stop = whole[4]
    assert text(stop=stop) == whole[: whole.index(stop)]


@pytest.mark.parametrize("prompt", [[], [0] * 13])
def test_a_prompt_must_fit(prompt: list[int]) -> None:
    with pytest.raises(TinyError, match="does not fit"):
        list(generate_tokens(to_torch(weights(SMALL)), SMALL, prompt, max_tokens=1))


@pytest.mark.parametrize(
    ("temperature", "top_p", "expected"),
    [
        (1.0, 1.0, [0.1, 0.4, 0.2, 0.3]),
        (0.5, 1.0, [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
        (1.0, 0.7, [0.0, 4 / 7, 0.0, 3 / 7]),
        (1.0, 0.71, [0.0, 4 / 9, 2 / 9, 3 / 9]),
        (1e-300, 1.0, [0.0, 1.0, 0.0, 0.0]),
    ],
)
def test_draws_follow_the_probabilities(temperature: float, top_p: float, expected: list[float]) -> None:
    scores = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
    generator = torch.Generator().manual_seed(0)
    counts = Counter(draw(scores, temperature, top_p, generator) for _ in range(DRAWS))
    for token, probability in enumerate(expected):
        deviation = (probability * (1 - probability) / DRAWS) ** 0.5
        assert abs(counts[token] / DRAWS - probability) <= 4.5 * deviation, token
