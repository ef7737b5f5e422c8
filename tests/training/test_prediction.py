"""Predictions are the model's probabilities, from as much context as they should have."""

from __future__ import annotations

import dataclasses

import mlx.core as mx
import numpy as np
import pytest
from numpy_model import random_parameters, to_mlx
from tiny_run import CONTEXT, MODEL, VOCABULARY

from mlx_tiny.model.counting import KneserNey
from mlx_tiny.model.forward import logits
from mlx_tiny.model.mixing import Gate, Mixed
from mlx_tiny.ops.implementations import decide
from mlx_tiny.training import prediction
from mlx_tiny.training.prediction import log_probabilities

PARAMETERS = to_mlx(random_parameters(MODEL, seed=2))


def ids(length: int, seed: int = 0) -> list[int]:
    return [int(number) for number in np.random.default_rng(seed).integers(0, VOCABULARY, length)]


def after(tokens: list[int]) -> np.ndarray:
    """Log-probabilities of the token after these, from a forward pass of its own."""
    window = dataclasses.replace(MODEL, context=len(tokens))
    scores = np.asarray(logits(PARAMETERS, MODEL, mx.array([tokens]), decide(window))[0][0, -1], np.float64)
    return scores - np.log(np.exp(scores).sum())


@pytest.mark.parametrize("at_once", [1, 2, 256])
def test_short_texts_are_read_whole(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction, "_SEQUENCES_AT_ONCE", at_once)
    monkeypatch.setattr(prediction, "_BATCH_TOKENS", 40)
    sequences = [
        (ids(7, 1), [1, 4, 7]),
        (ids(1), [1]),
        (ids(CONTEXT, 2), [CONTEXT - 1, CONTEXT]),
        (ids(9, 3), []),
        (ids(7, 4), [7]),
    ]
    found = list(log_probabilities(PARAMETERS, MODEL, sequences, range(5, 50)))
    for (tokens, places), scores in zip(sequences, found, strict=True):
        assert scores.shape == (len(places), 45)
        for place, row in zip(places, scores, strict=True):
            np.testing.assert_allclose(row, after(tokens[:place])[5:50], atol=1e-4)


def test_with_counting_it_is_the_mixture() -> None:
    mixed = Mixed(KneserNey(np.array(ids(300, 5), np.uint16), VOCABULARY, bos=0), Gate.constant(0.3))
    tokens, places = ids(CONTEXT, 5), [1, 9, CONTEXT]
    (scores,) = log_probabilities(PARAMETERS, MODEL, [(tokens, places)], range(5, 50), mixed=mixed)
    for place, row in zip(places, scores, strict=True):
        counted = np.log(mixed.grams.distribution(tokens[:place]))
        expected = np.logaddexp(np.log(0.7) + after(tokens[:place]), np.log(0.3) + counted)
        np.testing.assert_allclose(row, expected[5:50], atol=1e-4)


def test_long_texts_keep_most_of_a_context() -> None:
    tokens, places = ids(5 * CONTEXT), list(range(1, 5 * CONTEXT + 1, 3))
    (scores,) = log_probabilities(PARAMETERS, MODEL, [(tokens, places)], range(VOCABULARY))
    for place, row in zip(places, scores, strict=True):
        possible = [after(tokens[place - length : place]) for length in range(min(place, 24), min(place, CONTEXT) + 1)]
        assert min(float(np.abs(row - other).max()) for other in possible) < 1e-4
    assert np.exp(scores).sum(axis=1) == pytest.approx(1)


def test_a_sequence_may_be_continued_after_a_jump() -> None:
    tokens = ids(4 * CONTEXT)
    (scores,) = log_probabilities(PARAMETERS, MODEL, [(tokens, [2, 4 * CONTEXT])], range(VOCABULARY))
    np.testing.assert_allclose(scores[1], after(tokens[-CONTEXT * 3 // 4 :]), atol=1e-4)
