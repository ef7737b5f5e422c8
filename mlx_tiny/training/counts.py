"""The part that counting has in a run: which training text is counted, and which is kept to fit the gate on.

The gate is fitted on text that is not trained on, as if it were not counted either: what model and counting know by
heart says nothing about how far to trust each of them.
"""

from __future__ import annotations

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
from mlx_tiny.model.mixing import PRIOR_SHARE, Gate, Mixed, Predictions, fit, gathered
from mlx_tiny.records import Progress
from mlx_tiny.training.budget import Budget
from mlx_tiny.training.counted import MOST_TOKENS, sample

_MOST_KEPT_TOKENS = 16_384
"""Enough for the weights of the gate, and little enough to be missed by neither model nor counting."""
_KEPT_SHARE = 0.02
_WANTED_TOKENS, _LARGEST_SHARE = 256, 0.1
"""Of a short text up to so many tokens are kept, and a tenth: with a weight of a half it was weaker than its parts."""
_LEAST_FIT_TOKENS = 4096
"""They are taken whatever the time: with 1024, stories were 0.0002 bits per byte worse than with 3072 after 10 s."""
_LEAST_KEPT_TOKENS = 50
"""Fewer say little. With 55 to 170, on eight short texts, the mixture had 0.964 to 1.001 of the bits of the prior's."""
_FIT_SHARE, _MOST_FIT_S = 0.04, 4.0
"""Of a budget in seconds, for the gate."""
FORWARD_SHARE = 0.6
"""Of these seconds, for the predictions of the model; the rest is for counting's and for the fit."""
_COUNTED_SHARE = 0.7
"""Of a budget in seconds, at most: in a short one, counting is most of the result."""
_TRIED_TOKENS, _TRIALS, _SLOWER = 65_536, 3, 2.2
"""How fast counting is here, is measured on so many tokens, of which the best trial counts; each of some millions takes
so many times as long, because their tables fit in no cache (1.9 to 2.4 measured)."""

_NONE = Predictions(*(np.zeros(0) for _ in Predictions._fields))

Predict = Callable[[Tokens], Iterable[Iterable[Floats]]]


class Split(NamedTuple):
    """The training tokens of a text."""

    learned: Tokens
    """What is trained on and counted."""
    kept: Tokens
    """What is only counted, and the gate fitted on as if it were not; begins with BOS, or is empty for a short text."""


def split(part: Part, config: RunConfig) -> Split:
    """Whole documents at the end of a training text are kept, or the end of the last one where it is too long."""
    tokens, bos = part.corpus.train, part.corpus.tokenizer.bos
    share = max(_KEPT_SHARE, min(_LARGEST_SHARE, _WANTED_TOKENS / len(tokens)))
    most = int(min(share * len(tokens), part.share * _MOST_KEPT_TOKENS)) if config.train.counting else 0
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
        most = MOST_TOKENS
        if budget.quantity == "seconds":
            most = min(most, int(_COUNTED_SHARE * budget.amount * self._counted_per_s(clock)))
        kept = self._joined(each.kept for each in self._splits if len(each.kept))
        learned = (
            sample(each.learned, self._bos, max(1, int(share * (most - len(kept)))))
            for each, share in zip(self._splits, self._shares, strict=True)
        )
        self._counted = self._joined([*learned, kept] if len(kept) else learned)
        self._grams = KneserNey(self._counted, self._vocabulary_size, self._bos, kept_tokens=len(kept))

    def _counted_per_s(self, clock: Callable[[], float]) -> float:
        """Tokens, of a large text."""
        tokens, durations = np.asarray(self._splits[0].learned[:_TRIED_TOKENS]), list[float]()
        for _ in range(_TRIALS):
            began = clock()
            KneserNey(tokens, self._vocabulary_size, self._bos)
            durations.append(clock() - began)
        return len(tokens) / max(min(durations), 1e-9) / _SLOWER

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
        gate, share = Gate.constant(), PRIOR_SHARE
        if len(said.nats):
            unaware = self._grams.without_kept()
            gate = fit(unaware, tokens, said)
            share = float(Mixed(unaware, gate).shares(tokens, said).mean())
        return Fitted(Mixed(self._grams, gate), self._counted, len(said.nats), share)

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
