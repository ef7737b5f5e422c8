"""Counting, and a model mixed with it, in dictionaries and by the definitions.

Interpolated modified Kneser-Ney smoothing: Chen and Goodman, "An Empirical Study of Smoothing Techniques for Language
Modeling" (TR-10-98), equations 16, 17 and 26. A gram is a tuple of tokens: a context, and the token after it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

Known = tuple[int, list[int]]
"""The length and 1 of the longest context that a token followed; and what its counts add up to and how many different
tokens followed, and both of the context without its first token."""


_OTHERS = 14
"""Features beside the order: four counts, their squares, their products with the entropy; the entropy, and the top.

Of the counts the logarithm is taken, and all but the products are divided by 4.
"""


class Counting:
    """The grams of a text.

    Args:
        tokens: beginning with BOS; no context reaches back beyond the last BOS before its token.
        vocabulary_size: V.
        bos: the token that begins documents.
        orders: tokens of the longest gram.
    """

    def __init__(self, tokens: Sequence[int], vocabulary_size: int, bos: int, orders: int) -> None:
        self.vocabulary_size, self.bos = vocabulary_size, bos
        grams: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(orders + 1)]
        whole: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(orders + 1)]
        begin = 0
        for end, token in enumerate(tokens):
            for order in range(1, min(orders, end - begin + 1) + 1):
                gram = tuple(tokens[end - order + 1 : end + 1])
                grams[order][gram] += 1
                if order == end - begin + 1:  # no token of the document stands before it
                    whole[order][gram] += 1
            if token == bos:
                begin = end
        self.orders = max(order for order in range(orders + 1) if grams[order])
        self._discounts = {}
        self._followers: dict[tuple[int, ...], dict[int, int]] = defaultdict(dict)
        for order in range(1, self.orders + 1):
            counts = grams[order]
            if order < self.orders:
                counts = Counter(gram[1:] for gram in grams[order + 1]) + whole[order]
            self._discounts[order] = _discounts(counts)
            for (*context, token), count in counts.items():
                self._followers[tuple(context)][token] = count

    def distribution(self, tokens: Sequence[int]) -> tuple[np.ndarray, Known]:
        """The probabilities of the next token after these, float64 [V], and how well their end is known."""
        recent = tuple(tokens[max(0, len(tokens) + 1 - self.orders) :])
        if self.bos in recent:
            recent = recent[len(recent) - 1 - recent[::-1].index(self.bos) :]
        probabilities, known = np.full(self.vocabulary_size, 1 / self.vocabulary_size), (1, [0] * 4)
        for length in range(len(recent) + 1):
            followers = self._followers.get(recent[len(recent) - length :])
            if not followers:
                break
            total = sum(followers.values())
            lost = {token: self._discounts[length + 1][min(count, 3)] for token, count in followers.items()}
            probabilities = probabilities * sum(lost.values()) / total
            for token, count in followers.items():
                probabilities[token] += (count - lost[token]) / total
            known = length + 1, [total, len(followers), *known[1][:2]]
        return probabilities, known


def _discounts(counts: Counter[tuple[int, ...]]) -> list[float]:
    """What counts of 0, 1, 2, and 3 or more lose; a third of them where the formula has no value."""
    n = [sum(count == k for count in counts.values()) for k in range(5)]
    if not all(n[1:]):
        return [0, 1 / 3, 2 / 3, 1]
    y = n[1] / (n[1] + 2 * n[2])
    found = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
    return [0, *(min(max(value, 0.1), k) for k, value in enumerate(found, 1))]


def share_of_counting(gate: Sequence[float], known: Known, entropy: float, top: float) -> float:
    """The weight of counting in the mixture, from 0 to 1.

    Args:
        gate: a number for each order, and for each of the other features.
        entropy, top: entropy and largest log-probability of the model's distribution, in nats.
    """
    order, counts = known
    by_order, others = gate[:-_OTHERS], gate[-_OTHERS:]
    entropy, top = entropy / 4, top / 4
    logit = by_order[order - 1] + others[-2] * entropy + others[-1] * top
    for place, count in enumerate(counts):
        feature = math.log1p(count) / 4
        logit += feature * (others[place] + others[4 + place] * feature + others[8 + place] * entropy)
    return 1 / (1 + math.exp(-logit))


def mixed_distribution(
    counting: Counting, gate: Sequence[float], tokens: Sequence[int], scores_V: np.ndarray
) -> np.ndarray:
    """The probabilities of the next token after these under the mixture, float64 [V].

    Args:
        scores_V: the model's logits.
    """
    model_V = np.exp(scores_V.astype(np.float64) - scores_V.max())
    model_V /= model_V.sum()
    counted_V, known = counting.distribution(tokens)
    entropy = -float(sum(p * math.log(p) for p in model_V.tolist() if p))
    share = share_of_counting(gate, known, entropy, math.log(model_V.max()))
    mixed_V: np.ndarray = (1 - share) * model_V + share * counted_V
    return mixed_V


def mixed_nats(
    counting: Counting, gate: Sequence[float], tokens: Sequence[int], predictions_3N: np.ndarray
) -> list[float]:
    """Negative log-likelihoods under the mixture of the first N tokens after the first one.

    Args:
        predictions_3N: of the model for these, as `evaluate.predictions` gives them.
    """
    found = []
    for end, (nats, entropy, top) in enumerate(predictions_3N.T.tolist(), 1):
        counted_V, known = counting.distribution(tokens[max(0, end - counting.orders) : end])
        share = share_of_counting(gate, known, entropy, top)
        found.append(-math.log((1 - share) * math.exp(-nats) + share * counted_V[tokens[end]]))
    return found
