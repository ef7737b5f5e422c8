"""The part that counting has in a run: which training text is counted, and which is kept to fit the gate on.

The gate is fitted on text that is neither trained on nor counted: what model and counting know by heart says nothing
about how far to trust each of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from mlx_tiny.config import RunConfig, TrainConfig
from mlx_tiny.data.mixture import Corpus
from mlx_tiny.data.prepared import Part
from mlx_tiny.model.counting import Floats, KneserNey, Tokens
from mlx_tiny.model.mixing import PRIOR_SHARE, Mixed, Predictions, fit, gathered
from mlx_tiny.records import Progress
from mlx_tiny.training.budget import Budget
from mlx_tiny.training.counted import MOST_TOKENS, sample

_MOST_KEPT_TOKENS = 16_384
"""Enough for ten weights, and little enough to be missed by neither model nor counting."""
_KEPT_SHARE = 0.02
_LEAST_FIT_TOKENS = 1024
"""They are taken whatever the time: fewer would not tell which of model and counting is the better one."""
_LEAST_KEPT_TOKENS = 256
"""Fewer say less than the prior of the gate, and a text that is so short needs all of them."""
_FIT_SHARE, _MOST_FIT_S = 0.04, 4.0
"""Of a budget in seconds, for the gate."""
FORWARD_SHARE = 0.6
"""Of these seconds, for the predictions of the model; the rest is for counting's and for the fit."""
_COUNTED_PER_S = 1_000_000
"""Tokens; counting takes at most half of a budget in seconds."""
_SHORT_S, _SHORT_SHARE = 30.0, 0.2
"""In budgets in seconds up to this, counting is most of the result: what was kept is counted too in the end, where that
takes at most this share of the budget. In longer ones the model needs the time more, unless it is little."""

_NONE = Predictions(*(np.zeros(0) for _ in Predictions._fields))

Predict = Callable[[Tokens], Iterable[Iterable[Floats]]]


class Split(NamedTuple):
    """The training tokens of a text."""

    learned: Tokens
    """What is trained on and counted."""
    kept: Tokens
    """What the gate is fitted on, beginning with BOS; empty where the text is too short."""


def split(part: Part, config: RunConfig) -> Split:
    """Whole documents at the end of a training text are kept, or the end of the last one where it is too long."""
    tokens, bos = part.corpus.train, part.corpus.tokenizer.bos
    most = int(min(_KEPT_SHARE * len(tokens), part.share * _MOST_KEPT_TOKENS)) if config.train.counting else 0
    if most < _LEAST_KEPT_TOKENS or len(tokens) - most <= config.model.context:
        return Split(tokens, tokens[:0])
    cut = len(tokens) - most
    begins = cut + np.flatnonzero(tokens[cut:-1] == bos)
    if len(begins) and len(tokens) - begins[0] >= most / 2:
        return Split(tokens[: begins[0] + 1], tokens[begins[0] :])
    return Split(tokens[:cut], np.concatenate([np.array([bos], tokens.dtype), tokens[cut:]]))


def counted_tokens(corpus: Corpus, config: RunConfig) -> int:
    """Tokens of the training text that a run counts, at most."""
    return min(MOST_TOKENS, sum(len(part.corpus.train) for part in corpus.parts)) if config.train.counting else 0


def account(config: TrainConfig, progress: Progress, clock: Callable[[], float] = time.monotonic) -> Budget:
    """The budget of a run after what it has spent, with time set aside for the gate."""
    spent = progress.tokens, progress.flops, progress.seconds
    budget = Budget(config.budget, *spent, clock, progress.step)
    if config.counting and budget.quantity == "seconds":
        return replace(budget, aside_s=min(_MOST_FIT_S, _FIT_SHARE * budget.amount))
    return budget


class Fitted(NamedTuple):
    """Counting and its gate at the end of a run."""

    mixed: Mixed
    counted: Tokens
    kept_tokens: int
    """Those that the gate was fitted on; with none it is the prior."""
    share: float
    """Mean weight of counting in the predictions of these tokens."""


class Counting:
    """What is counted in a run.

    Args:
        corpus: its texts, each of which has its share of what is counted and kept.
        clock: of the budget.
    """

    def __init__(self, corpus: Corpus, config: RunConfig, clock: Callable[[], float]) -> None:
        self._splits = [split(part, config) for part in corpus.parts]
        self._shares, self._bos = [part.share for part in corpus.parts], corpus.tokenizer.bos
        self._vocabulary_size = config.model.vocabulary_size
        budget = account(config.train, Progress())
        seconds = budget.amount if budget.quantity == "seconds" else math.inf
        most = min(MOST_TOKENS, seconds / 2 * _COUNTED_PER_S)
        began = clock()
        self._counted = self._joined(
            sample(each.learned, self._bos, max(1, int(share * most)))
            for each, share in zip(self._splits, self._shares, strict=True)
        )
        self._grams = self._count(self._counted)
        took_s = clock() - began
        self._again = took_s <= (_SHORT_SHARE * seconds if seconds <= _SHORT_S else budget.aside_s / 4 or math.inf)
        self.again_s = took_s if self._again and seconds < math.inf else 0.0
        """Of a budget in seconds, for counting once more in the end."""

    def fit(self, predict: Predict, limit_tokens: float, ended: Callable[[], bool]) -> Fitted:
        """Fit the gate to a model.

        Args:
            predict: what the model says of each token but the first, some at a time.
            limit_tokens: how many kept tokens to take at most.
            ended: whether the time for predictions is over, asked after each of them.
        """
        most = max(limit_tokens, _LEAST_FIT_TOKENS)
        kept = [
            _beginning(each.kept, self._bos, share * most)
            for each, share in zip(self._splits, self._shares, strict=True)
        ]
        tokens, parts = self._joined(each for each in kept if len(each) > 1), [_NONE]
        for said in predict(tokens) if len(tokens) else ():
            parts.append(Predictions(*said))
            if ended() and sum(len(part.nats) for part in parts) >= _LEAST_FIT_TOKENS:
                break
        said = gathered(parts)
        tokens = tokens[: len(said.nats) + 1]
        gate = fit(self._grams, tokens, said)
        share = float(Mixed(self._grams, gate).shares(tokens, said).mean()) if len(said.nats) else PRIOR_SHARE
        counted, grams = self._counted, self._grams
        if self._again:
            counted = self._joined([counted, *(each.kept for each in self._splits if len(each.kept))])
            grams = self._count(counted)
        return Fitted(Mixed(grams, gate), counted, len(said.nats), share)

    def _count(self, tokens: Tokens) -> KneserNey:
        return KneserNey(tokens, self._vocabulary_size, self._bos)

    def _joined(self, texts: Iterable[Tokens]) -> Tokens:
        """Texts as one; a BOS that ends one is the beginning of the next."""
        texts, bos = list(texts), self._bos
        inner = [text[:-1] if text[-1] == bos and later[0] == bos else text for text, later in pairwise(texts)]
        return np.concatenate([np.zeros(0, np.uint16), *inner, *texts[-1:]])


def _beginning(tokens: Tokens, bos: int, most: float) -> Tokens:
    """At most so many tokens: the first documents, or the beginning of the first one where it is longer."""
    if len(tokens) <= most:
        return tokens
    ends = np.flatnonzero(tokens[: int(most)] == bos)
    return tokens[: ends[-1] + 1] if len(ends) > 1 else tokens[: int(most)]
