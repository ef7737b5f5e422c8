"""The mixture of a model with counting is a distribution, and its gate is fitted on what it gains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_counting import BOS, SIZE, TEXTS, joined

from mlx_tiny.errors import TinyError
from mlx_tiny.model.counting import KneserNey
from mlx_tiny.model.mixing import FEATURES, PRIOR_SHARE, Gate, Mixed, Predictions, fit, gathered

GATE = Gate(tuple(np.random.default_rng(0).standard_normal(FEATURES) / 9))


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def predictions_of(scores_NV: np.ndarray, tokens: np.ndarray) -> Predictions:
    """What a model with these logits says of all tokens but the first."""
    log_NV = log_softmax(scores_NV)
    nats = -log_NV[np.arange(len(log_NV)), tokens[1:]]
    return Predictions(nats, -(np.exp(log_NV) * log_NV).sum(axis=1), log_NV.max(axis=1))


def random_scores(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, SIZE)) * 3


def nats_of(share: float, model: np.ndarray, counted: np.ndarray) -> float:
    return -np.log((1 - share) * np.exp(-model) + share * np.exp(-counted)).sum()


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.lists(st.integers(0, SIZE - 1), max_size=9))
def test_every_context_has_a_distribution_that_evaluation_agrees_with(
    learned: list[list[int]], context: list[int]
) -> None:
    mixed, scores_V = Mixed(KneserNey(joined(learned), SIZE, BOS), GATE), random_scores(1)[0]
    context = [BOS, *context]
    log_V = mixed.log_probabilities(context, scores_V)
    assert np.exp(log_V).sum() == pytest.approx(1, abs=1e-6)
    for token in range(SIZE):
        tokens = np.array([*context, token], np.uint16)
        said = predictions_of(scores_V[None], tokens[-2:])
        assert mixed.nats(tokens, said) == pytest.approx([-log_V[token]], abs=1e-6)


@pytest.mark.parametrize("share", [0.25, PRIOR_SHARE])
def test_a_constant_gate_mixes_probabilities(share: float) -> None:
    grams, tokens = KneserNey(joined([[1, 2, 3], [1, 2, 4]]), SIZE, BOS), joined([[1, 2, 3], [4, 4]])
    said = predictions_of(random_scores(len(tokens) - 1), tokens)
    mixed = Mixed(grams, Gate.constant(share))
    assert mixed.nats(tokens, said).sum() == pytest.approx(nats_of(share, said.nats, grams.nats(tokens)))
    assert mixed.shares(tokens, said) == pytest.approx(np.full(len(tokens) - 1, share))


def test_tokens_before_the_predicted_ones_are_context_alone() -> None:
    mixed, tokens = Mixed(KneserNey(joined([[1, 2, 3, 4, 1, 2]]), SIZE, BOS), GATE), joined([[1, 2, 3, 4, 1, 2, 3]])
    whole = predictions_of(random_scores(len(tokens) - 1), tokens)
    parts = [Predictions(*(values[place] for values in whole)) for place in (slice(0, 3), slice(3, None))]
    np.testing.assert_array_equal(mixed.nats(tokens, gathered(parts)), mixed.nats(tokens, whole))
    np.testing.assert_allclose(mixed.nats(tokens, parts[1]), mixed.nats(tokens, whole)[3:])


def likely_text(seed: int, count: int) -> np.ndarray:
    """Random documents in which each token has two likely followers."""
    generator, documents = np.random.default_rng(seed), list[list[int]]()
    for _ in range(count):
        document = [int(generator.integers(1, SIZE))]
        while len(document) < 12:
            document.append(1 + (document[-1] + int(generator.random() < 0.3)) % (SIZE - 1))
        documents.append(document)
    return joined(documents)


def test_a_fitted_gate_is_better_than_every_constant() -> None:
    grams, tokens = KneserNey(likely_text(0, 40), SIZE, BOS), likely_text(1, 200)
    scores = random_scores(len(tokens) - 1) / 3
    scores[np.arange(len(scores)), tokens[1:]] += np.random.default_rng(1).choice([0, 6], len(scores))
    said = predictions_of(scores, tokens)
    best = min(nats_of(share, said.nats, grams.nats(tokens)) for share in np.linspace(0.001, 0.999, 999))
    assert Mixed(grams, fit(grams, tokens, said)).nats(tokens, said).sum() < best


def test_a_gate_learns_where_the_model_is_sure() -> None:
    """The model knows every other token, and says so by its entropy; counting knows all a little."""
    grams, learned, other = (KneserNey(likely_text(0, 40), SIZE, BOS), *map(likely_text, (1, 2), (200, 200)))
    said = []
    for tokens in (learned, other):
        scores = np.zeros((len(tokens) - 1, SIZE))
        scores[np.arange(0, len(scores), 2), tokens[1::2]] = 8
        said.append(predictions_of(scores, tokens))
    gate = fit(grams, learned, said[0])
    share = Mixed(grams, gate).shares(other, said[1])
    assert share[::2].max() < 0.2 and share[1::2].min() > 0.8


def test_one_token_does_not_decide() -> None:
    grams, tokens = KneserNey(likely_text(0, 40), SIZE, BOS), likely_text(1, 1)[:2]
    said = predictions_of(random_scores(1), tokens)
    share = Mixed(grams, fit(grams, tokens, said)).shares(tokens, said)
    assert 0.1 < share[0] < 0.9 and share[0] != PRIOR_SHARE


def test_without_text_the_gate_is_the_prior() -> None:
    nothing = Predictions(*(np.zeros(0) for _ in range(3)))
    assert fit(KneserNey(joined([[1]]), SIZE, BOS), joined([]), nothing) == Gate.constant(PRIOR_SHARE)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(TinyError, match="gate"):
        Gate((1.0, 2.0))
    with pytest.raises(TinyError, match="vocabular"):
        Mixed(KneserNey(joined([[1]]), SIZE, BOS), GATE).log_probabilities([BOS], np.zeros(SIZE + 1))
