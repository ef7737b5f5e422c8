"""The n-gram equals a textbook implementation in dictionaries, and its probabilities add up to 1."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_tiny.errors import TinyError
from mlx_tiny.model.counting import KneserNey

BOS, SIZE = 0, 5


class Textbook:
    """Modified Kneser-Ney, interpolated, by the definitions: Chen and Goodman, TR-10-98, equations 16, 17 and 26."""

    def __init__(self, documents: list[list[int]], orders: int) -> None:
        self.orders = orders
        whole = [(BOS, *document, BOS) for document in documents]
        raw: dict[int, Counter] = {order: Counter() for order in range(1, orders + 1)}
        raw[1][(BOS,)] += 1  # that of the first document, which ends no document
        for text in whole:
            for end in range(1, len(text)):
                for order in range(1, min(orders, end + 1) + 1):
                    raw[order][text[end - order + 1 : end + 1]] += 1
        self.counts = {orders: raw[orders]}
        for order in range(1, orders):
            before: dict[tuple[int, ...], set[int]] = defaultdict(set)
            for gram in raw[order + 1]:
                before[gram[1:]].add(gram[0])
            whole_context = {gram: count for gram, count in raw[order].items() if gram[0] == BOS and order > 1}
            if order == 1:
                whole_context = {(BOS,): 1}
            self.counts[order] = Counter({gram: len(tokens) for gram, tokens in before.items()})
            self.counts[order].update(whole_context)
        self.discounts = {order: self.discount(counts) for order, counts in self.counts.items()}

    @staticmethod
    def discount(counts: Counter) -> list[float]:
        n = [sum(count == k for count in counts.values()) for k in range(5)]
        if not all(n[1:]):
            return [0, 1 / 3, 2 / 3, 1]
        y = n[1] / (n[1] + 2 * n[2])
        found = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        return [0, *(min(max(value, 0.1), k) for k, value in enumerate(found, 1))]

    def probability(self, token: int, context: tuple[int, ...]) -> float:
        context = context[max(0, len(context) - self.orders + 1) :]
        order = len(context) + 1
        lower = 1 / SIZE if not context else self.probability(token, context[1:])
        followers = {t: self.counts[order].get((*context, t), 0) for t in range(SIZE)}
        total = sum(followers.values())
        if not total:
            return lower
        lost = {t: self.discounts[order][min(count, 3)] for t, count in followers.items()}
        return (followers[token] - lost[token]) / total + sum(lost.values()) / total * lower


def joined(documents: list[list[int]]) -> np.ndarray:
    return np.array([BOS, *(token for document in documents for token in (*document, BOS))], np.uint16)


TEXTS = st.lists(st.lists(st.integers(1, SIZE - 1), min_size=1, max_size=12), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 4))
def test_equals_the_textbook(learned: list[list[int]], other: list[list[int]], orders: int) -> None:
    grams = KneserNey(joined(learned), SIZE, BOS, orders)
    book = Textbook(learned, grams.orders)
    expected = []
    for document in other:
        whole = (BOS, *document, BOS)
        expected += [-math.log(book.probability(whole[end], whole[:end])) for end in range(1, len(whole))]
    tokens = joined(other)
    np.testing.assert_allclose(grams.nats(tokens), expected, rtol=1e-5, atol=1e-6)
    assert grams.total_nats(tokens, piece=3) == pytest.approx(sum(expected), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.lists(st.integers(1, SIZE - 1), max_size=6))
def test_probabilities_add_up_to_one(learned: list[list[int]], context: list[int]) -> None:
    grams = KneserNey(joined(learned), SIZE, BOS)
    ends = [grams.nats(np.array([BOS, *context, token], np.uint16))[-1] for token in range(SIZE)]
    assert sum(np.exp(-np.array(ends))) == pytest.approx(1, abs=1e-6)


def test_order_is_that_of_the_longest_document() -> None:
    assert KneserNey(joined([[1, 2], [3]]), SIZE, BOS).orders == 4


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.lists(st.integers(0, SIZE - 1), max_size=9))
def test_the_distribution_after_a_context_is_that_of_single_tokens(
    learned: list[list[int]], context: list[int]
) -> None:
    grams, context = KneserNey(joined(learned), SIZE, BOS), [BOS, *context]
    nats = [grams.nats(np.array([*context, token], np.uint16))[-1] for token in range(SIZE)]
    np.testing.assert_allclose(grams.distribution(context), np.exp(-np.array(nats)), rtol=1e-6)


def test_the_longest_context_that_a_token_followed() -> None:
    grams = KneserNey(joined([[1, 2, 3], [1, 2, 4], [4]]), SIZE, BOS)
    known = grams.context_features(joined([[1, 2, 1], [3]]))
    # After BOS; BOS 1; BOS 1 2; 1, of which "2 1" is new; BOS; 3.
    assert known.order.tolist() == [2, 3, 4, 2, 2, 2]
    assert known.followers.tolist() == [2, 1, 2, 1, 2, 1]


@pytest.mark.parametrize("tokens", [[], [BOS, SIZE]])
def test_what_cannot_be_counted_is_refused(tokens: list[int]) -> None:
    with pytest.raises(TinyError, match="counted"):
        KneserNey(np.array(tokens, np.uint16), SIZE, BOS)
