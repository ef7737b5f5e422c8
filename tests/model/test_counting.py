"""The n-gram equals the one of the reference in dictionaries, and its probabilities add up to 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_tiny.errors import TinyError
from mlx_tiny.model import counting
from mlx_tiny.model.counting import KneserNey
from mlx_tiny.reference.counting import Counting

BOS, SIZE = 0, 5


def joined(documents: list[list[int]]) -> np.ndarray:
    return np.array([BOS, *(token for document in documents for token in (*document, BOS))], np.uint16)


TEXTS = st.lists(st.lists(st.integers(1, SIZE - 1), min_size=1, max_size=12), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 4))
def test_equals_the_reference(learned: list[list[int]], other: list[list[int]], orders: int) -> None:
    grams = KneserNey(joined(learned), SIZE, BOS, orders)
    reference, tokens = Counting(joined(learned).tolist(), SIZE, BOS, orders), joined(other)
    assert reference.orders == grams.orders
    found = [reference.distribution(tokens[:end].tolist()) for end in range(1, len(tokens))]
    nats = [-math.log(after[token]) for (after, _), token in zip(found, tokens[1:], strict=True)]
    np.testing.assert_allclose(grams.nats(tokens), nats, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        np.transpose(grams.context_features(tokens)), [(order, *counts) for _, (order, counts) in found]
    )
    assert grams.total_nats(tokens, piece=3) == pytest.approx(sum(nats), rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.lists(st.integers(1, SIZE - 1), max_size=6))
def test_probabilities_add_up_to_one(learned: list[list[int]], context: list[int]) -> None:
    grams = KneserNey(joined(learned), SIZE, BOS)
    ends = [grams.nats(np.array([BOS, *context, token], np.uint16))[-1] for token in range(SIZE)]
    assert sum(np.exp(-np.array(ends))) == pytest.approx(1, abs=1e-6)


@settings(max_examples=100, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 6))
def test_without_kept_tokens_it_is_as_if_they_had_not_been_counted(
    learned: list[list[int]], kept: list[list[int]], orders: int
) -> None:
    both, tokens = KneserNey(joined(learned + kept), SIZE, BOS, orders, len(joined(kept))), joined(kept)
    used = iter([counting._discounts(counts) for counts in smoothed_counts(joined(learned + kept), orders)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "_discounts", lambda _: next(used))
        alone = KneserNey(joined(learned), SIZE, BOS, orders)
    np.testing.assert_array_equal(both.nats(tokens), KneserNey(joined(learned + kept), SIZE, BOS, orders).nats(tokens))
    found = both.without_kept()
    np.testing.assert_allclose(found.nats(tokens), alone.nats(tokens), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.context_features(tokens), alone.context_features(tokens))


def smoothed_counts(tokens: np.ndarray, orders: int) -> list[np.ndarray]:
    """The counts from which the discounts of each order are taken."""
    found: list[np.ndarray] = []
    with pytest.MonkeyPatch.context() as patch:
        sound = counting._discounts
        patch.setattr(counting, "_discounts", lambda counts: (found.append(counts), sound(counts))[1])
        KneserNey(tokens, SIZE, BOS, orders)
    return found


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
    assert known.shorter_followers[1:3].tolist() == [1, 2], "of 1 after BOS and alone, and of 1 2 so"


@pytest.mark.parametrize("tokens", [[], [BOS, SIZE]])
def test_what_cannot_be_counted_is_refused(tokens: list[int]) -> None:
    with pytest.raises(TinyError, match="counted"):
        KneserNey(np.array(tokens, np.uint16), SIZE, BOS)
