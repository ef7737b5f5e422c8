"""Simple predictors of the next item, and how well a ranking of items predicts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

_START = None
"""Stands for the beginning of a history, as an item that precedes the first."""
_LONGEST_CONTEXT = 2
Scores = NDArray[np.float64]


class Predictor(Protocol):
    """Ranks the candidates for the next item."""

    name: str

    def scores(self, before: Sequence[str]) -> Scores:
        """A number for each candidate, the largest for the likeliest.

        Args:
            before: the items of the history up to now.
        """


class _Counts:
    """How often each candidate follows each context of a length."""

    def __init__(self, histories: Iterable[Sequence[str]], candidates: Sequence[str], length: int) -> None:
        self._index = {item: number for number, item in enumerate(candidates)}
        self.size, self._length = len(candidates), length
        counts = defaultdict[Hashable, Counter[int]](Counter)
        for items in histories:
            for place, item in enumerate(items):
                if item in self._index:
                    counts[self.context(items[max(0, place - length) : place])][self._index[item]] += 1
        self._counts = {
            context: (np.array(list(counter), np.int64), np.array(list(counter.values()), np.float64))
            for context, counter in counts.items()
        }

    def context(self, before: Sequence[str]) -> Hashable:
        """The last items, with the beginning of the history where there are fewer."""
        if not self._length:
            return ()
        last = tuple(before[-self._length :])
        return (_START,) * (self._length - len(last)) + last

    def after(self, before: Sequence[str]) -> Scores:
        """How often each candidate followed, [I]."""
        found = np.zeros(self.size)
        if (known := self._counts.get(self.context(before))) is not None:
            found[known[0]] = known[1]
        return found


class Popularity:
    """The most frequent items, whatever was before."""

    name = "popularity"

    def __init__(self, histories: Sequence[Sequence[str]], candidates: Sequence[str]) -> None:
        self._scores = _Counts(histories, candidates, 0).after(())

    def scores(self, before: Sequence[str]) -> Scores:
        return self._scores


class FirstOrderMarkov:
    """The items that most often followed the last one; then the others, by their popularity."""

    name = "first-order Markov"

    def __init__(self, histories: Sequence[Sequence[str]], candidates: Sequence[str]) -> None:
        popularity = _Counts(histories, candidates, 0).after(())
        self._popularity = popularity / (1 + popularity.max(initial=0.0))
        self._following = _Counts(histories, candidates, 1)

    def scores(self, before: Sequence[str]) -> Scores:
        followed: Scores = self._following.after(before) + self._popularity
        return followed


class InterpolatedNgram:
    """Frequencies after the last two items, after the last and after any, interpolated (Witten and Bell 1991).

    The shorter context has the weight of the number of different items that were seen after the longer one.
    """

    name = f"interpolated {_LONGEST_CONTEXT + 1}-gram"

    def __init__(self, histories: Sequence[Sequence[str]], candidates: Sequence[str]) -> None:
        self._counts = [_Counts(histories, candidates, length) for length in range(_LONGEST_CONTEXT + 1)]

    def scores(self, before: Sequence[str]) -> Scores:
        found = np.full(self._counts[0].size, 1 / max(1, self._counts[0].size))
        for counts in self._counts:
            seen = counts.after(before)
            different = np.count_nonzero(seen)
            if different:
                found = (seen + different * found) / (seen.sum() + different)
        return found


def baselines(histories: Sequence[Sequence[str]], candidates: Sequence[str]) -> list[Predictor]:
    """All simple predictors, of the items of the training histories."""
    return [kind(histories, candidates) for kind in (Popularity, FirstOrderMarkov, InterpolatedNgram)]


@dataclass
class Accuracy:
    """How often the next item was among the first of a ranking.

    Candidates of equal scores share their places: a hit counts by the chance that a random order of them gives, and so
    does the reciprocal rank.
    """

    top: int
    events: int = 0
    hits: float = 0.0
    reciprocal_ranks: float = 0.0
    by_history: list[tuple[int, float]] = field(default_factory=list)
    """Events and hits of each history."""

    def add(self, rows: Sequence[Scores], items: Sequence[int]) -> None:
        """Add a history.

        Args:
            rows: for each event the score of each candidate, [I], without NaN.
            items: for each event the number of its candidate; -1 where it is none, which is a miss.
        """
        before = self.hits
        for scores, item in zip(rows, items, strict=True):
            self.events += 1
            if item >= 0:
                better = int(np.count_nonzero(scores > scores[item]))
                equal = int(np.count_nonzero(scores == scores[item]))
                self.hits += min(max(self.top - better, 0), equal) / equal
                self.reciprocal_ranks += float(np.mean(1 / np.arange(better + 1, better + equal + 1)))
        self.by_history.append((len(items), self.hits - before))

    @property
    def hit_rate(self) -> float:
        return self.hits / self.events

    @property
    def hit_rate_error(self) -> float:
        """Standard error of the hit rate, where histories are independent and their events are not."""
        rate = self.hit_rate
        return math.sqrt(sum((hits - rate * events) ** 2 for events, hits in self.by_history)) / self.events

    @property
    def mean_reciprocal_rank(self) -> float:
        return self.reciprocal_ranks / self.events
