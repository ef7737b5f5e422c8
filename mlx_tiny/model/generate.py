"""Generates text token by token, with a cache of keys and values."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Collection, Iterator, Sequence

import mlx.core as mx
import numpy as np

from mlx_tiny.config import ModelConfig, Sampling
from mlx_tiny.errors import TinyError, require_finite
from mlx_tiny.linux.lanes import compiled_function, decide_compilation
from mlx_tiny.model.counting import ORDERS
from mlx_tiny.model.forward import Cache, logits
from mlx_tiny.model.healing import Ending, longest_lead
from mlx_tiny.model.memory import require_reading
from mlx_tiny.model.mixing import Mixed
from mlx_tiny.model.parameters import Parameters, layers_of
from mlx_tiny.model.sampling import PENALIZED_TOKENS, draw, penalized
from mlx_tiny.ops.implementations import AUTO, decide


def generate_tokens(
    parameters: Parameters,
    config: ModelConfig,
    prompt: list[int],
    sampling: Sampling,
    *,
    endings: Sequence[Ending] = (),
    stop: Collection[int] = (),
    asked: str = AUTO,
    mixed: Mixed | None = None,
) -> Iterator[int]:
    """Draw tokens after `prompt`, one by one, until one of `stop` is drawn or `max_tokens` tokens are drawn.

    When the context is full, its last half is kept and read again, so that a text may be longer than the context.

    Args:
        prompt: at least one id, and at most as many as the context and the longest lead leave room for.
        endings: the tokens of one of them come first, and are not counted (`healing.py`).
        stop: ids that end the text and are not returned.
        asked: `auto`, or `plain` for plain operations everywhere.
        mixed: counting, with which the model is mixed.

    Raises:
        TinyError: a prompt that is empty or longer than the context.
    """
    if not 1 <= len(prompt) <= config.context - longest_lead(endings):
        raise TinyError(
            "The prompt does not fit the model's context",
            expected=f"1 to {config.context - longest_lead(endings)} tokens",
            got=len(prompt),
            remedy="Shorten the prompt, or train with a longer --context",
        )
    reader = Reader(parameters, config, asked, mixed)
    key = mx.random.key(sampling.seed)
    window, scores_V = list(prompt), reader.read(prompt)

    def recent(lead: Sequence[int] = ()) -> list[int]:
        return [token for token in [*window, *lead][-PENALIZED_TOKENS:] if token not in stop]

    if endings:
        key, drawing = mx.random.split(key)
        readers, scores_EV = score_endings(reader, scores_V, endings, recent, sampling.repetition_penalty)
        chosen, token = divmod(_number(draw(scores_EV.reshape(-1), sampling, drawing)), scores_V.size)
        reader, ending = readers[chosen], [*endings[chosen].lead, token]
        yield from ending
        window += ending
    for _ in range(sampling.max_tokens):
        if len(window) > config.context:
            window = window[-max(1, config.context // 2) :]
            scores_V = reader.read(window)
        elif len(window) > reader.length:
            scores_V = reader.read_next(window[-1])
        key, drawing = mx.random.split(key)
        token = _number(draw(scores_V, sampling, drawing, recent()))
        if token in stop:
            return
        yield token
        window.append(token)


def score_endings(
    reader: Reader,
    scores_V: mx.array,
    endings: Sequence[Ending],
    recent: Callable[[Sequence[int]], Sequence[int]] = lambda _: (),
    penalty: float = 1,
) -> tuple[list[Reader], mx.array]:
    """Read the lead of each ending.

    Args:
        reader: has read the tokens before the endings, and stays as it is.
        scores_V: the logits after these.
        recent: gives the tokens before the place after a lead that the repetition penalty is about.
        penalty: the repetition penalty of the token that crosses the end; the lead is part of the prompt.

    Returns:
        A reader after each lead; and log-probabilities [E, V] of each lead together with each token, minus infinity
        where the token is not allowed.
    """
    readers, rows = list[Reader](), list[mx.array]()
    for ending in endings:
        fork, after_V, log_probability = copy.copy(reader), scores_V, mx.array(0.0)
        for token in ending.lead:
            log_probability = log_probability + _log_softmax(after_V)[token]
            after_V = fork.read_next(token)
        after_V = _log_softmax(penalized(after_V, recent(ending.lead), penalty))
        readers.append(fork)
        rows.append(mx.where(mx.array(ending.allowed), log_probability + after_V, -mx.inf))
    return readers, mx.stack(rows)


def _number(drawn: mx.array) -> int:
    # Not by numpy, which hides the error where the work failed, and reads what is in the memory.
    return int(drawn)


def _log_softmax(scores_V: mx.array) -> mx.array:
    return scores_V - mx.logsumexp(scores_V)


class Reader:
    """Reads a text token by token. The cache has the size of the context from the start, so that no shape changes.

    Args:
        parameters: float32.
        asked: `auto`, or `plain` for plain operations everywhere.
        mixed: counting, with which the model is mixed.
    """

    def __init__(
        self, parameters: Parameters, config: ModelConfig, asked: str = AUTO, mixed: Mixed | None = None
    ) -> None:
        self.parameters, self.config, self._asked, self._mixed = parameters, config, asked, mixed
        # Split once, which saves a few dozen views per token.
        self._layers = layers_of(parameters, config)
        self.length = 0
        """Number of tokens read."""
        self._recent: list[int] = []
        self._cache: Cache = []

    def read(self, tokens: Sequence[int]) -> mx.array:
        """Read a text from its beginning; returns the logits of the next token, float32 [V].

        With counting they are log-probabilities.

        Raises:
            TinyError: it does not fit in memory.
        """
        require_reading(self.config, len(tokens))
        window = dataclasses.replace(self.config, context=len(tokens))
        scores_BTV, cache = logits(
            self.parameters, self.config, mx.array([list(tokens)]), decide(window, asked=self._asked)
        )
        require_finite(bool(mx.all(mx.isfinite(scores_BTV[0, -1]))))
        self.length, self._recent = len(tokens), list(tokens[-ORDERS:])
        room = [(0, 0), (0, self.config.context - self.length), (0, 0), (0, 0)]
        self._cache = [(mx.pad(key, room), mx.pad(value, room)) for key, value in cache]
        return self._with_counting(scores_BTV[0, -1])

    def read_next(self, token: int) -> mx.array:
        """Read one more token, which must fit into the context; returns the same as `read`."""
        scores_V, self._cache = reading_step(self.config, self._asked)(
            self.parameters, self._layers, mx.array([[self._recent[-1], token]]), self._cache, mx.array(self.length)
        )
        self.length, self._recent = self.length + 1, [*self._recent, token][-ORDERS:]
        return self._with_counting(scores_V)

    def _with_counting(self, scores_V: mx.array) -> mx.array:
        if self._mixed is None:
            return scores_V
        mx.eval(scores_V)
        mx.synchronize()  # numpy would hide that the work of the GPU has failed
        log_V = self._mixed.log_probabilities(self._recent, np.asarray(scores_V, np.float64))
        return mx.array(log_V.astype(np.float32))


@functools.cache
def reading_step(config: ModelConfig, asked: str = AUTO) -> Callable[..., tuple[mx.array, Cache]]:
    """The function that reads a token, given after the one before it, [1, 2]; compiled if possible, for its speed."""
    token = dataclasses.replace(config, context=1)
    implementations = decide(token, past=config.context - 1, asked=asked)

    def step(
        parameters: Parameters, layers: Sequence[Parameters], token_12: mx.array, cache: Cache, filled: mx.array
    ) -> tuple[mx.array, Cache]:
        before_11, token_11 = mx.split(token_12, 2, axis=1)
        scores_BTV, cache = logits(parameters, config, token_11, implementations, cache, filled, layers, before_11)
        return scores_BTV[0, -1], cache

    compiled, _ = decide_compilation(True)
    return compiled_function(step) if compiled else step
