"""Layer 5: bits per byte, and the likeliest text, of the same weights by both sides."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mlx_tiny.config import ModelConfig, Sampling
from mlx_tiny.model import generate
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.conformance import Result, to_float64
from mlx_tiny.reference import evaluate as reference_evaluate
from mlx_tiny.reference import generate as reference_generate
from mlx_tiny.reference.model import logits
from mlx_tiny.tolerances import bounds
from mlx_tiny.training import evaluate
from mlx_tiny.validate.table import Comparison
from mlx_tiny.validate.tensors import as_torch

LAYER = "evaluation and generation"
# With fewer tokens, too few rounding errors cancel: at 9 bits per byte the two differed by 5e-7 bits for 16 tokens, and
# by 1.4e-6 for one.
_ENOUGH_TOKENS = 16
# The reference reads its whole window again for every token, so few tokens are compared, and fewer of a long context.
_SHORTEST_PROMPT, _MOST_TOKENS, _MOST_POSITIONS = 8, 64, 32_768


@dataclass(frozen=True)
class Trained:
    """A trained model, and text to evaluate it on."""

    config: ModelConfig
    weights: Parameters
    tokens: np.ndarray
    """Validation tokens, uint16 [n]."""
    text_bytes: float
    """Bytes of the text of all tokens."""


def comparisons(name: str, trained: Callable[[], Trained]) -> Iterator[Comparison]:
    """Comparisons of evaluation and generation.

    Args:
        name: of the weights.
        trained: returns them, when they are needed.
    """
    for operation, run in (("bits per byte", _bits), ("likeliest tokens", _tokens)):
        yield Comparison(LAYER, operation, name, "float32", functools.partial(_asked, run, trained))


def _asked(run: Callable[[Trained], list[Result]], trained: Callable[[], Trained]) -> list[Result]:
    return run(trained())


def _bits(trained: Trained) -> list[Result]:
    """Bits per byte and count of all tokens, of half of them, and of one window."""
    parameters, results = as_torch(trained.weights, torch.float32), []
    count = len(trained.tokens) - 1
    for limit in dict.fromkeys((count, (count + 1) // 2, min(count, trained.config.context))):
        arguments = trained.config, trained.tokens, trained.text_bytes
        got = evaluate.evaluate(trained.weights, *arguments, limit_tokens=limit)
        expected = reference_evaluate.evaluate(parameters, *arguments, limit_tokens=limit)
        allowed = bounds("bits per byte" if limit >= _ENOUGH_TOKENS else "both sides", "float32")
        results += [
            Result(f"of {limit:,} tokens", np.array(got.bits_per_byte), np.array(expected.bits_per_byte), allowed),
            Result(f"count of {limit:,} tokens", np.array(got.tokens), np.array(expected.tokens), allowed),
        ]
    return results


def _tokens(trained: Trained) -> list[Result]:
    """Tokens one by one, beyond the end of the context, up to the first place where two tokens are equally likely."""
    config, parameters = trained.config, as_torch(trained.weights, torch.float32)
    length, count = _prompt_and_count(config.context, len(trained.tokens))
    prompt = [int(token) for token in trained.tokens[:length]]
    greedy = Sampling(temperature=0, max_tokens=count)
    ours = list(generate.generate_tokens(trained.weights, config, prompt, greedy))
    theirs = list(reference_generate.generate_tokens(parameters, config, prompt, max_tokens=count))
    allowed = bounds("likeliest token", "float32")
    alike = next((place for place in range(count) if ours[place] != theirs[place]), count)
    results = []
    if alike > 0:
        results.append(Result(f"{alike} equal tokens", np.array(ours[:alike]), np.array(theirs[:alike]), allowed))
    if alike < count:
        scores = _scores(trained, [*prompt, *ours[:alike]])
        shares = scores / np.abs(scores).max()
        results.append(Result(f"score of token {alike + 1}", shares[ours[alike]], shares[theirs[alike]], allowed))
    return results


def _prompt_and_count(context: int, available: int) -> tuple[int, int]:
    """Length of the prompt, and number of tokens to write: five eighths of them before the end of the context."""
    most = min(_MOST_TOKENS, max(2, _MOST_POSITIONS // context))
    beyond = max(1, most * 3 // 8)
    length = min(max(_SHORTEST_PROMPT, context - most + beyond), context, available)
    return length, min(most, context - length + beyond)


def _scores(trained: Trained, tokens: list[int]) -> np.ndarray:
    """The reference's logits after these tokens, in float64, [V]."""
    context, window = trained.config.context, list[int]()
    for token in tokens:
        window = [*window, token]
        if len(window) > context:
            window = window[-max(1, context // 2) :]
    return to_float64(logits(as_torch(trained.weights), trained.config, torch.tensor([window]))[0, -1])
