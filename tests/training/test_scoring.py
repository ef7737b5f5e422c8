"""Scores of documents: each is that of the document alone, by the protocol of evaluation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy_model import random_parameters, to_mlx
from tiny_run import MODEL, story, tiny_config, tiny_corpus

from mlx_tiny.model.counting import KneserNey
from mlx_tiny.model.mixing import FEATURES, Gate, Mixed
from mlx_tiny.training import scoring
from mlx_tiny.training.evaluate import evaluate_texts
from mlx_tiny.training.scoring import score_texts

TEXTS = [story(3), "", "Ann", story(5) * 3, "Ünter 🙂\n\n", "Ann"]
PARAMETERS = to_mlx(random_parameters(MODEL, seed=2))


@pytest.mark.parametrize("at_once", [1, 4, 512])
def test_a_score_is_the_evaluation_of_the_document_alone(
    at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "_DOCUMENTS_AT_ONCE", at_once)
    tokenizer = tiny_corpus(tiny_config(tmp_path)).tokenizer
    scores = list(score_texts(PARAMETERS, MODEL, tokenizer, TEXTS))
    assert len(scores) == len(TEXTS)
    for text, score in zip(TEXTS, scores, strict=True):
        assert score.tokens.tolist() == [*tokenizer.encode(text), tokenizer.bos]
        assert score.bytes == len(text.encode()) and score.log_probabilities.shape == score.tokens.shape
        assert np.isfinite(score.log_probabilities).all() and (score.log_probabilities < 0).all()
        if not text:
            assert score.bits_per_byte == math.inf
            continue
        alone, _ = evaluate_texts(PARAMETERS, MODEL, tokenizer, [text])
        assert score.log_probability == pytest.approx(-alone.nats, rel=1e-5)
        assert score.bits_per_byte == pytest.approx(alone.bits_per_byte, rel=1e-5)
    assert scores[2].log_probability == pytest.approx(scores[5].log_probability, rel=1e-6)


def test_with_counting_a_score_is_that_of_the_mixture(tmp_path: Path) -> None:
    corpus = tiny_corpus(tiny_config(tmp_path))
    grams = KneserNey(np.array(corpus.train), corpus.tokenizer.size, corpus.tokenizer.bos)
    mixed = Mixed(grams, Gate(tuple(np.random.default_rng(0).standard_normal(FEATURES) / 9)))
    for text, score in zip(TEXTS, score_texts(PARAMETERS, MODEL, corpus.tokenizer, TEXTS, mixed=mixed), strict=True):
        if text:
            alone, _ = evaluate_texts(PARAMETERS, MODEL, corpus.tokenizer, [text], mixed=mixed)
            assert alone.with_counting_nats is not None and alone.with_counting_nats != alone.nats
            assert score.log_probability == pytest.approx(-alone.with_counting_nats, rel=1e-5)


def test_each_token_has_its_own_place(tmp_path: Path) -> None:
    """A text that begins like another has the same scores there, up to a window of another length."""
    tokenizer = tiny_corpus(tiny_config(tmp_path)).tokenizer
    long, short = story(1), story(1)[:60].rpartition(" ")[0]
    scores = [score.log_probabilities for score in score_texts(PARAMETERS, MODEL, tokenizer, [long, short])]
    same = len(tokenizer.encode(short))
    assert same < MODEL.context
    np.testing.assert_allclose(scores[0][:same], scores[1][:same], rtol=1e-4)
    assert len(set(np.round(scores[0], 6))) > len(scores[0]) // 2
