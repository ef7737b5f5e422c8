"""Text from a trained model: sampling with a key/value cache, token by token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.model import Cache, Parameters, logits


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 0.8
    """0 takes the likeliest token always."""
    top_p: float = 0.95
    """Draw from the smallest set of tokens whose probabilities add up to this."""
    seed: int = 0
    max_tokens: int = 256

    def __post_init__(self) -> None:
        for name, value, holds, expected in (
            ("temperature", self.temperature, 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 to 1"),
            ("max_tokens", self.max_tokens, self.max_tokens >= 1, "at least 1"),
        ):
            if not holds:
                raise TinyError(f"The setting {name} is out of range", expected=expected, got=value)


def generate_tokens(
    parameters: Parameters,
    config: ModelConfig,
    prompt: list[int],
    sampling: Sampling,
    *,
    stop: int | None = None,
) -> Iterator[int]:
    """Draw tokens after `prompt`, one by one, until `stop` is drawn or `max_tokens` are given.

    Where the context is full, its last half is kept and read anew, so that a text may be longer than the context.

    Args:
        prompt: at least one and at most `config.context` ids.
        stop: id that ends the text, itself not given; None never stops early.

    Raises:
        TinyError: a prompt that is empty or longer than the context.
    """
    if not 1 <= len(prompt) <= config.context:
        raise TinyError(
            "The prompt does not fit the model's context",
            expected=f"1 to {config.context} tokens",
            got=len(prompt),
            remedy="Shorten the prompt, or train with a longer --context",
        )
    key = mx.random.key(sampling.seed)
    window, cache, fresh = list(prompt), None, list(prompt)
    for _ in range(sampling.max_tokens):
        if len(window) > config.context:
            window = window[-max(1, config.context // 2) :]
            cache, fresh = None, list(window)
        scores, cache = _next_scores(parameters, config, fresh, cache)
        key, draw = mx.random.split(key)
        token = int(np.asarray(_draw(scores, sampling, draw)))
        if token == stop:
            return
        yield token
        window.append(token)
        fresh = [token]


def _next_scores(
    parameters: Parameters, config: ModelConfig, tokens: list[int], cache: Cache | None
) -> tuple[mx.array, Cache]:
    scores_BTV, grown = logits(parameters, config, mx.array([tokens]), cache)
    return scores_BTV[0, -1], grown


def _draw(scores_V: mx.array, sampling: Sampling, key: mx.array) -> mx.array:
    if sampling.temperature == 0:
        return mx.argmax(scores_V)
    # Differences first: scores themselves, over a tiny temperature, would overflow.
    scores_V = (scores_V - mx.max(scores_V)) / sampling.temperature
    if sampling.top_p < 1:
        scores_V = _nucleus(scores_V, sampling.top_p)
    return mx.random.categorical(scores_V, key=key)


def _nucleus(scores_V: mx.array, top_p: float) -> mx.array:
    """The scores, at minus infinity outside the smallest set that holds `top_p` of the probability."""
    order = mx.argsort(-scores_V)
    probabilities = mx.softmax(scores_V[order])
    # A token stays if what comes before it does not reach top_p yet, so that the first always stays.
    kept = (mx.cumsum(probabilities) - probabilities) < top_p
    return mx.put_along_axis(mx.full(scores_V.shape, -mx.inf), order, mx.where(kept, scores_V[order], -mx.inf), axis=0)


def sample_text(
    parameters: Parameters,
    config: ModelConfig,
    tokenizer: Tokenizer,
    *,
    max_tokens: int,
    seed: int,
    prompt: str = "",
) -> str:
    """A text from the beginning (or from `prompt`) to its end or `max_tokens`, prompt included."""
    ids = [tokenizer.bos, *tokenizer.encode(prompt)]
    drawn = generate_tokens(parameters, config, ids, Sampling(max_tokens=max_tokens, seed=seed), stop=tokenizer.bos)
    return prompt + tokenizer.decode(list(drawn))
