"""Layer 5: bits per byte and the likeliest text by both sides, of the same weights, and of them with counting."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from mlx_tiny.config import ModelConfig, Sampling
from mlx_tiny.model import generate
from mlx_tiny.model.counting import ORDERS, KneserNey
from mlx_tiny.model.mixing import Gate, Mixed
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.conformance import Result, to_float64
from mlx_tiny.reference import evaluate as reference_evaluate
from mlx_tiny.reference import generate as reference_generate
from mlx_tiny.reference.counting import Counting, mixed_distribution, mixed_nats
from mlx_tiny.reference.model import logits
from mlx_tiny.tolerances import bounds
from mlx_tiny.training import evaluate
from mlx_tiny.validate.table import Comparison
from mlx_tiny.validate.tensors import as_torch

LAYER = "evaluation and generation"
Mixture = Callable[[list[int], np.ndarray], np.ndarray]
"""Takes tokens and the logits after them, and gives the probabilities of the next one."""
# With fewer tokens, too few rounding errors cancel: at 9 bits per byte the two differed by 5e-7 bits for 16 tokens, and
# by 1.4e-6 for one.
_ENOUGH_TOKENS = 16
# The reference reads its whole window again for every token, so few tokens are compared, and fewer of a long context.
_MIXED_TOKENS = 1000
"""The reference computes the distribution after each of these in dictionaries."""
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
    counted: Counted | None = None
    """Counting, with which the model is mixed."""


@dataclass(frozen=True)
class Counted:
    """Counting, as a run keeps it."""

    tokens: np.ndarray
    """uint16 [n], beginning with BOS."""
    gate: Gate
    bos: int

    def by_us(self, config: ModelConfig) -> Mixed:
        return Mixed(KneserNey(self.tokens, config.vocabulary_size, self.bos), self.gate)

    def by_reference(self, config: ModelConfig) -> Counting:
        return Counting(self.tokens.tolist(), config.vocabulary_size, self.bos, ORDERS)


def comparisons(name: str, trained: Callable[[], Trained], counted: bool = False) -> Iterator[Comparison]:
    """Comparisons of evaluation and generation.

    Args:
        name: of the weights.
        trained: returns them, when they are needed.
        counted: whether they are mixed with counting.
    """
    mixed = [("bits per byte with counting", _bits_with_counting), ("likeliest tokens with counting", _tokens)]
    plain = [("bits per byte", _bits), ("likeliest tokens", lambda trained: _tokens(replace(trained, counted=None)))]
    for operation, run in [*plain, *(mixed if counted else [])]:
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


def _bits_with_counting(trained: Trained) -> list[Result]:
    """Bits per byte of the mixture on the first tokens."""
    assert trained.counted is not None
    config, counted, count = trained.config, trained.counted, min(_MIXED_TOKENS, len(trained.tokens) - 1)
    got = evaluate.evaluate(
        trained.weights,
        config,
        trained.tokens,
        trained.text_bytes,
        limit_tokens=count,
        mixed=counted.by_us(config),
    )
    parameters = as_torch(trained.weights, torch.float32)
    said = reference_evaluate.predictions(parameters, config, trained.tokens, limit_tokens=count)
    nats = mixed_nats(
        counted.by_reference(config), counted.gate.weights, trained.tokens.tolist(), np.concatenate(list(said), axis=1)
    )
    expected = np.array(sum(nats) / math.log(2) / got.bytes)
    allowed = bounds("bits per byte" if count >= _ENOUGH_TOKENS else "both sides", "float32")
    return [Result(f"of {count:,} tokens", np.array(got.with_counting_bits_per_byte), expected, allowed)]


def _tokens(trained: Trained) -> list[Result]:
    """Tokens one by one, beyond the end of the context, up to the first place where two tokens are equally likely."""
    config, parameters = trained.config, as_torch(trained.weights, torch.float32)
    length, count = _prompt_and_count(config.context, len(trained.tokens))
    prompt = [int(token) for token in trained.tokens[:length]]
    greedy = Sampling(temperature=0, max_tokens=count)
    counted = trained.counted
    mixed = counted.by_us(config) if counted else None
    ours = list(generate.generate_tokens(trained.weights, config, prompt, greedy, mixed=mixed))
    mixture = _mixture(trained)
    theirs = list(reference_generate.generate_tokens(parameters, config, prompt, max_tokens=count, mixture=mixture))
    allowed = bounds("likeliest token", "float32")
    alike = next((place for place in range(count) if ours[place] != theirs[place]), count)
    results = []
    if alike > 0:
        results.append(Result(f"{alike} equal tokens", np.array(ours[:alike]), np.array(theirs[:alike]), allowed))
    if alike < count:
        scores = _scores(trained, [*prompt, *ours[:alike]], mixture)
        shares = scores / np.abs(scores).max()
        results.append(Result(f"score of token {alike + 1}", shares[ours[alike]], shares[theirs[alike]], allowed))
    return results


def _prompt_and_count(context: int, available: int) -> tuple[int, int]:
    """Length of the prompt, and number of tokens to write: five eighths of them before the end of the context."""
    most = min(_MOST_TOKENS, max(2, _MOST_POSITIONS // context))
    beyond = max(1, most * 3 // 8)
    length = min(max(_SHORTEST_PROMPT, context - most + beyond), context, available)
    return length, min(most, context - length + beyond)


def _mixture(trained: Trained) -> Mixture | None:
    """The mixture with counting by the reference."""
    if trained.counted is None:
        return None
    counting = trained.counted.by_reference(trained.config)
    return functools.partial(mixed_distribution, counting, trained.counted.gate.weights)


def _scores(trained: Trained, tokens: list[int], mixture: Mixture | None = None) -> np.ndarray:
    """The reference's logits after these tokens, or log-probabilities of the mixture, in float64, [V]."""
    context, window = trained.config.context, list[int]()
    for token in tokens:
        window = [*window, token]
        if len(window) > context:
            window = window[-max(1, context // 2) :]
    scores_V = to_float64(logits(as_torch(trained.weights), trained.config, torch.tensor([window]))[0, -1])
    return np.log(mixture(window, scores_V)) if mixture else scores_V
