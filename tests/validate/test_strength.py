"""Layer 5: bits per byte and the likeliest tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch

from mlx_tiny.config import Sampling
from mlx_tiny.model import counting, mixing
from mlx_tiny.model.mixing import FEATURES, Gate
from mlx_tiny.validate import strength
from mlx_tiny.validate.strength import Counted, Trained
from mlx_tiny.validate.table import FAILED, OK, Row
from mlx_tiny.validate.trajectory import story_bytes

from .small import CONFIG, small_case

pytestmark = pytest.mark.torch
VOCABULARY, CONTEXT = CONFIG.model.vocabulary_size, CONFIG.model.context


def trained(tokens: int = 300) -> Trained:
    return Trained(CONFIG.model, small_case().weights, story_bytes(tokens, seed=1), tokens - 1)


def counted(tokens: int = 300) -> Trained:
    """The same, mixed with counting of other text; the newline begins a document."""
    gate = Gate(tuple(np.random.default_rng(0).standard_normal(FEATURES) / 9))
    return replace(trained(tokens), counted=Counted(story_bytes(2000, seed=2), gate, 10))


def in_float32(subject: Trained) -> dict[str, torch.Tensor]:
    return strength.as_torch(subject.weights, torch.float32)


def rows(subject: Trained) -> dict[str, Row]:
    mixed = subject.counted is not None
    return {q.operation: q.row() for q in strength.comparisons("weights", lambda: subject, counted=mixed)}


def test_mlx_and_the_reference_agree() -> None:
    found = rows(trained(1200))
    assert [row.lines() for row in found.values() if not row.passed] == []
    assert found["bits per byte"].absolute <= 1e-6
    assert found["likeliest tokens"].result == "64 equal tokens"


@pytest.mark.parametrize("tokens", [2, 1200])
def test_they_agree_on_the_mixture_with_counting(tokens: int) -> None:
    found = rows(counted(tokens))
    assert len(found) == 4 and [row.lines() for row in found.values() if not row.passed] == []


def other_discounts(patch: pytest.MonkeyPatch) -> None:
    genuine = counting._discounts
    patch.setattr(counting, "_discounts", lambda counts: genuine(counts) * 0.99)


def counting_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mixing.Gate, "logits", lambda self, features: np.full(len(features), -20.0))


def gate_without_entropy(patch: pytest.MonkeyPatch) -> None:
    genuine = mixing._features
    patch.setattr(mixing, "_features", lambda known, entropy, top: genuine(known, 0 * entropy, top))


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        (other_discounts, "bits per byte with counting"),
        (gate_without_entropy, "bits per byte with counting"),
        (counting_forgotten, "likeliest tokens with counting"),
    ],
)
def test_a_wrong_mixture_is_noticed(
    fault: Callable[[pytest.MonkeyPatch], None], failed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    compared = {each.operation: each for each in strength.comparisons("weights", lambda: counted(600), counted=True)}
    assert compared[failed].row().verdict == FAILED
    assert compared[failed.removesuffix(" with counting")].row().passed


@pytest.mark.parametrize("tokens", [33, 300, 999])
def test_bits_are_alike_to_a_millionth_of_a_short_text_too(tokens: int) -> None:
    row = rows(trained(tokens))["bits per byte"]
    assert (row.verdict, row.allowed) == (OK, pytest.approx(1e-6, rel=1)) and row.absolute <= 1e-6


# Nothing to halve, one window and a bit, and less than a prompt.
@pytest.mark.parametrize("tokens", [2, 5, CONTEXT + 3])
def test_short_validation_data_is_enough(tokens: int) -> None:
    assert all(row.passed for row in rows(trained(tokens)).values())


def test_other_weights_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = strength.as_torch
    monkeypatch.setattr(
        strength, "as_torch", lambda *a: {n: w * (1 + 1e-4 * (n == "mlp_output")) for n, w in genuine(*a).items()}
    )
    assert rows(trained(1200))["bits per byte"].verdict == FAILED


def with_head(change) -> Trained:
    subject = trained()
    head = np.array(subject.weights["head"])
    change(head)
    return replace(subject, weights={**subject.weights, "head": mx.array(head)})


def written(token: int):
    return lambda *_, **__: iter([token] * 64)


def test_a_tie_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of the head are equal and the likeliest, and MLX and the reference take different ones."""
    subject = trained()
    first = next(
        iter(
            strength.generate.generate_tokens(
                subject.weights, subject.config, list(map(int, subject.tokens[:24])), Sampling(temperature=0)
            )
        )
    )
    twin = (first + 1) % VOCABULARY

    def equal_rows(head: np.ndarray) -> None:
        head[twin] = head[first]

    genuine = strength.reference_generate.generate_tokens
    tied = with_head(equal_rows)
    ours = list(genuine(in_float32(tied), tied.config, list(map(int, tied.tokens[:24])), max_tokens=64))
    other = twin if ours[0] == first else first
    monkeypatch.setattr(strength.reference_generate, "generate_tokens", lambda *_, **__: iter([other, *ours[1:]]))
    row = rows(tied)["likeliest tokens"]
    assert (row.verdict, row.result, row.absolute) == (OK, "score of token 1", 0.0)


@pytest.mark.parametrize(("apart", "verdict"), [(1e-5, OK), (4e-4, OK), (6e-4, FAILED)])
def test_a_tie_is_measured_by_the_largest_score(apart: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two likeliest tokens have scores near zero, others near -100, and these decide the rounding errors."""
    scores = np.full(VOCABULARY, -100.0)
    scores[1], scores[2] = 1e-5, 1e-5 + apart
    monkeypatch.setattr(strength.generate, "generate_tokens", written(1))
    monkeypatch.setattr(strength.reference_generate, "generate_tokens", written(2))
    monkeypatch.setattr(strength, "_scores", lambda *_: scores)
    row = rows(trained())["likeliest tokens"]
    assert (row.verdict, row.result) == (verdict, "score of token 1")


@pytest.mark.parametrize(
    ("context", "available", "expected"),
    [
        (64, 300, (24, 64)),
        (512, 8192, (472, 64)),
        (20, 300, (8, 36)),
        (4, 300, (4, 24)),
        (4096, 8192, (4091, 8)),
        (65_536, 8192, (8192, 2)),
        (65_536, 100_000, (65_535, 2)),
        (64, 5, (5, 64)),
    ],
)
def test_few_tokens_are_written_after_a_long_context(context: int, available: int, expected: tuple[int, int]) -> None:
    assert strength._prompt_and_count(context, available) == expected


def test_another_token_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = strength.generate.generate_tokens

    def wrong(*arguments, **options):
        tokens = list(genuine(*arguments, **options))
        return iter([*tokens[:50], (tokens[50] + 1) % VOCABULARY, *tokens[51:]])

    monkeypatch.setattr(strength.generate, "generate_tokens", wrong)
    row = rows(trained())["likeliest tokens"]
    assert (row.verdict, row.result) == (FAILED, "score of token 51")


@pytest.mark.parametrize("length", [1, CONTEXT, CONTEXT + 1, CONTEXT + CONTEXT // 2, 200])
def test_scores_are_those_of_the_window_that_generation_reads(length: int) -> None:
    """The token that the reference writes after a text has the highest score there."""
    subject = trained()
    prompt = [int(token) for token in subject.tokens[:CONTEXT]]
    parameters = in_float32(subject)
    drawn = list(strength.reference_generate.generate_tokens(parameters, subject.config, prompt, max_tokens=200))
    text = [*prompt, *drawn]
    scores = strength._scores(subject, text[:length])
    if length >= CONTEXT:
        assert scores.argmax() == text[length]
    assert scores.shape == (VOCABULARY,)
