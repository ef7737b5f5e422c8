"""Each step of sampling against numpy in float64, alone and in a row; draws follow the probabilities."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.config import Sampling
from mlx_tiny.errors import TinyError
from mlx_tiny.model.sampling import above_share, draw, likeliest, nucleus, penalized

DRAWS = 4000
SCORES = np.array([2.0, 1.0, 0.5, 0.0, -1.0, -3.0])[np.random.default_rng(0).permutation(6)]


def softmax(scores: np.ndarray) -> np.ndarray:
    exponentials = np.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def expected_probabilities(scores: np.ndarray, sampling: Sampling, recent: tuple[int, ...] = ()) -> np.ndarray:
    """Token by token: which tokens remain, and the probabilities among them, in float64."""
    scores = scores.copy()
    for token in set(recent):
        scores[token] *= sampling.repetition_penalty ** (1 if scores[token] < 0 else -1)
    probabilities = softmax(scores / sampling.temperature)
    if sampling.top_k:
        probabilities[np.argsort(-probabilities, kind="stable")[sampling.top_k :]] = 0
        probabilities /= probabilities.sum()
    before = np.array([probabilities[probabilities > p].sum() for p in probabilities])
    probabilities[before >= sampling.top_p] = 0
    probabilities[probabilities < sampling.min_p * probabilities.max()] = 0
    return probabilities / probabilities.sum()


@pytest.mark.parametrize(
    "settings",
    [
        *({"temperature": temperature} for temperature in (0.5, 1.0, 2.0)),
        *({"top_p": top_p, "temperature": t} for top_p in (0.01, 0.5, 0.9, 0.999) for t in (0.7, 1.3)),
        *({"top_k": top_k} for top_k in (1, 3, 6, 7)),
        *({"min_p": min_p} for min_p in (0.01, 0.3, 1.0)),
        *({"repetition_penalty": penalty} for penalty in (0.5, 1.3, 3.0)),
        {"temperature": 1.5, "top_k": 5, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.4},
    ],
    ids=str,
)
def test_tokens_are_drawn_as_often_as_they_are_likely(settings: dict[str, Any]) -> None:
    sampling, recent = Sampling(**{"temperature": 1.0, "top_p": 1.0, **settings}), (1, 4, 4, 5)
    keys = mx.random.split(mx.random.key(3), DRAWS)
    drawn = mx.vmap(lambda key: draw(mx.array(SCORES.astype(np.float32)), sampling, key, recent))(keys)
    got = np.bincount(np.array(drawn), minlength=len(SCORES)) / DRAWS
    expected = expected_probabilities(SCORES, sampling, recent)
    # Within five standard deviations, and never where the probability is 0.
    assert (np.abs(got - expected) <= 5 * np.sqrt(expected * (1 - expected) / DRAWS) + 1e-12).all(), (got, expected)


@pytest.mark.parametrize(("function", "setting"), [(nucleus, 0.9), (likeliest, 2), (above_share, 0.5)])
def test_kept_scores_stay_as_they_are(function: Any, setting: Any) -> None:
    kept = np.array(function(mx.array([0.0, 3.0, -1.0, 2.9]), setting))
    np.testing.assert_array_equal(kept, np.array([-np.inf, 3.0, -np.inf, 2.9], dtype=np.float32))


@pytest.mark.parametrize(("function", "setting"), [(nucleus, 0.5), (likeliest, 2)])
def test_of_equal_scores_no_more_are_kept_than_needed(function: Any, setting: Any) -> None:
    assert np.isfinite(np.array(function(mx.zeros(4), setting))).sum() == 2


def test_a_token_is_penalized_once() -> None:
    scores = mx.array([2.0, -2.0, 1.0])
    np.testing.assert_allclose(np.array(penalized(scores, [1, 0, 0, 1], 2.0)), [1.0, -4.0, 1.0])


def test_at_temperature_0_the_penalty_still_counts() -> None:
    greedy = Sampling(temperature=0, repetition_penalty=3.0)
    scores = mx.array(SCORES.astype(np.float32))
    first = int(np.asarray(draw(scores, greedy, mx.random.key(0))))
    assert first == SCORES.argmax() != int(np.asarray(draw(scores, greedy, mx.random.key(0), [first])))


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_extreme_logits_and_temperatures_draw_a_likely_token(scale: float) -> None:
    scores = mx.array((SCORES * scale).astype(np.float32))
    sampling = Sampling(temperature=1e-30, top_p=0.5, min_p=0.1)
    assert int(np.asarray(draw(scores, sampling, mx.random.key(0)))) == SCORES.argmax()


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "temperature": (-0.1, math.inf, math.nan),
        "top_p": (0.0, 1.1, math.nan),
        "top_k": (-1,),
        "min_p": (-0.1, 1.1, math.nan),
        "repetition_penalty": (0.0, -1.0, math.inf, math.nan),
        "seed": (-1, 2**63),
        "max_tokens": (0,),
    }.items(),
)
def test_settings_out_of_range_are_refused(name: str, values: tuple[float, ...]) -> None:
    for value in values:
        with pytest.raises(TinyError, match=name):
            Sampling(**{name: value})  # type: ignore[arg-type]
