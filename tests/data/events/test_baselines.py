from __future__ import annotations

import numpy as np
import pytest

from mlx_tiny.data.events.baselines import (
    Accuracy,
    FirstOrderMarkov,
    InterpolatedNgram,
    Popularity,
    baselines,
)

HISTORIES = ["abab", "abc", "cab", "x"]
CANDIDATES = "abc"


def ranking(scores: np.ndarray) -> str:
    return "".join(CANDIDATES[index] for index in np.argsort(-scores, kind="stable"))


def test_popularity_counts() -> None:
    assert Popularity(HISTORIES, CANDIDATES).scores("b").tolist() == [4, 4, 2]


def test_markov_takes_what_followed_and_then_the_popular() -> None:
    markov = FirstOrderMarkov(HISTORIES, CANDIDATES)
    assert ranking(markov.scores("a")) == "bac"
    assert ranking(markov.scores("cb")) == "acb"  # a and c followed once each, and a is more frequent
    assert ranking(markov.scores("")) == "acb"  # two histories begin with a
    assert ranking(markov.scores("never seen"[:1])) == "abc"


def test_the_ngram_is_a_distribution_that_is_interpolated() -> None:
    ngram = InterpolatedNgram(HISTORIES, CANDIDATES)
    for before in ("", "a", "ab", "cab", "xx"):
        assert ngram.scores(before).sum() == pytest.approx(1)
    unigram = (np.array([4, 4, 2]) + 3 * np.full(3, 1 / 3)) / 13
    after_b = (np.array([1, 0, 1]) + 2 * unigram) / 4
    assert ngram.scores("xb") == pytest.approx(after_b)
    assert ngram.scores("ab") == pytest.approx((np.array([1, 0, 1]) + 2 * after_b) / 4)


def test_what_is_no_candidate_is_a_context_but_never_counted() -> None:
    assert ranking(FirstOrderMarkov(["xbxbxbaaaa"], CANDIDATES).scores("x"))[0] == "b"


def accuracy(rows: list[list[float]], items: list[int], top: int) -> tuple[float, float]:
    found = Accuracy(top)
    found.add([np.array(row) for row in rows], items)
    return found.hit_rate, found.mean_reciprocal_rank


def test_ranks_are_counted() -> None:
    assert accuracy([[3, 2, 1], [3, 2, 1], [3, 2, 1], [3, 2, 1]], [0, 1, 2, -1], 2) == (2 / 4, (1 + 1 / 2 + 1 / 3) / 4)


def test_equal_scores_share_their_places() -> None:
    every = accuracy([[5, 1, 1, 1]] * 3, [1, 2, 3], 2)
    strict = accuracy([[5, 3, 2, 1]] * 3, [1, 2, 3], 2)
    assert every == pytest.approx(strict)
    assert accuracy([[0, 0, 0, 0]], [3], 1)[0] == 1 / 4


def test_an_informed_ranking_beats_the_popular() -> None:
    histories = ["abcabc", "bcabca"]
    found = {}
    for predictor in baselines(histories, CANDIDATES):
        measured = Accuracy(1)
        measured.add([predictor.scores("cabc"[:place]) for place in range(1, 4)], [CANDIDATES.index(c) for c in "abc"])
        found[predictor.name] = measured.hit_rate
    assert list(found.values()) == [pytest.approx(1 / 3), 1, 1]


def test_the_error_of_the_hit_rate_is_that_of_histories() -> None:
    found = Accuracy(1)
    hit, miss = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    for rows in ([hit] * 4, [miss] * 4):
        found.add(rows, [0] * 4)
    assert found.hit_rate_error == pytest.approx(np.sqrt(2 * 2**2) / 8)
