"""Bits per byte against a simple loop in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import numpy_model
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numeric import assert_close
from numpy_model import random_parameters
from tiny_run import story

from mlx_tiny.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from mlx_tiny.data.prepare import prepare
from mlx_tiny.model.counting import KneserNey
from mlx_tiny.model.mixing import FEATURES, Gate, Mixed
from mlx_tiny.training.evaluate import BATCH_TOKENS, Evaluation, combined, evaluate, fingerprint, tokens_at_once

CONFIG = ModelConfig(
    vocabulary_size=256,
    context=12,
    layers=1,
    width=12,
    heads=4,
    key_value_heads=2,
    head_width=6,
    hidden=20,
    activation="swiglu",
)
T = CONFIG.context


def to_mlx(parameters: dict[str, np.ndarray]) -> dict[str, mx.array]:
    return {name: mx.array(array.astype(np.float32)) for name, array in parameters.items()}


def random_tokens(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, CONFIG.vocabulary_size, count).astype(np.uint16)


def naive_nats(parameters: dict[str, np.ndarray], tokens: np.ndarray, predicted: int) -> list[float]:
    """Each token after the first, predicted from those before it in its window, one by one."""
    nats = []
    for index in range(1, predicted + 1):
        start = (index - 1) // T * T
        scores = numpy_model.logits(parameters, CONFIG, tokens[start:index].astype(int))[-1]
        nats.append(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - scores[tokens[index]])
    return nats


@pytest.mark.parametrize("count", [2, T, T + 1, T + 2, 2 * T + 1, 3 * T - 1])
def test_it_is_the_naive_loop(count: int) -> None:
    parameters, tokens = random_parameters(CONFIG), random_tokens(count)
    got = evaluate(to_mlx(parameters), CONFIG, tokens, 2 * count + 1)
    nats = naive_nats(parameters, tokens, count - 1)
    assert_close(np.array(got.nats), np.array(sum(nats)), "model", "float32")
    assert (got.tokens, got.bytes) == (count - 1, 2 * count + 1)
    assert got.bits_per_byte == pytest.approx(sum(nats) / math.log(2) / (2 * count + 1), rel=1e-5)


def mixture(tokens: np.ndarray) -> Mixed:
    """Counts of a text, with a gate for which every feature matters."""
    gate = Gate(tuple(np.random.default_rng(0).standard_normal(FEATURES) / 9))
    return Mixed(KneserNey(tokens, CONFIG.vocabulary_size, bos=int(tokens[0])), gate)


@pytest.mark.parametrize("count", [2, T + 1, 3 * T - 1])
@pytest.mark.parametrize("batch_tokens", [1, 2 * T])
def test_with_counting_it_is_the_naive_mixture(count: int, batch_tokens: int) -> None:
    parameters, tokens = random_parameters(CONFIG), random_tokens(count)
    mixed = mixture(np.tile(tokens, 2))
    got = evaluate(to_mlx(parameters), CONFIG, tokens, 2 * count, batch_tokens=batch_tokens, mixed=mixed)
    nats = []
    for end in range(1, count):
        start = (end - 1) // T * T
        scores = numpy_model.logits(parameters, CONFIG, tokens[start:end].astype(int))[-1]
        nats.append(-mixed.log_probabilities(tokens[:end].tolist(), scores)[tokens[end]])
    assert got.with_counting_nats == pytest.approx(sum(nats), rel=1e-5)
    alone = evaluate(to_mlx(parameters), CONFIG, tokens, 2 * count)
    assert alone.with_counting_bits_per_byte is None
    assert (got.tokens, got.bytes, got.nats) == (alone.tokens, alone.bytes, pytest.approx(alone.nats, rel=1e-6))


@given(tokens=st.integers(1, 4 * T), size=st.integers(1, 1 << 40))
@example(11, 15)
@example(291, 927)
@settings(max_examples=50)
def test_the_bytes_of_a_whole_text_are_those_that_were_counted(tokens: int, size: int) -> None:
    parameters = {**to_mlx(random_parameters(CONFIG)), "head": mx.zeros((CONFIG.vocabulary_size, CONFIG.width))}
    assert evaluate(parameters, CONFIG, random_tokens(tokens + 1), size).bytes == size


@pytest.mark.parametrize("limit", [1, T - 1, T, T + 1, 2 * T + 3, 10_000])
def test_a_limit_takes_the_beginning(limit: int) -> None:
    parameters, tokens = random_parameters(CONFIG), random_tokens(3 * T)
    got = evaluate(to_mlx(parameters), CONFIG, tokens, 2.5 * (len(tokens) - 1), limit_tokens=limit)
    count = min(limit, len(tokens) - 1)
    assert (got.tokens, got.bytes) == (count, 2.5 * count)
    assert_close(np.array(got.nats), np.array(sum(naive_nats(parameters, tokens, count))), "model", "float32")


@pytest.mark.parametrize("batch_tokens", [1, T, 3 * T, 7 * T + 5, 10_000])
def test_the_batch_does_not_matter(batch_tokens: int) -> None:
    parameters, tokens = to_mlx(random_parameters(CONFIG)), random_tokens(20 * T + 5)
    whole = evaluate(parameters, CONFIG, tokens, 100)
    got = evaluate(parameters, CONFIG, tokens, 100, batch_tokens=batch_tokens)
    assert got.bits_per_byte == pytest.approx(whole.bits_per_byte, rel=1e-6)
    assert got.tokens == whole.tokens


def test_a_run_evaluates_as_much_at_once_as_a_step_computes_or_takes_little() -> None:
    small = RunConfig(model=CONFIG, train=TrainConfig(batch_size=2))
    large = RunConfig(model=ModelConfig(vocabulary_size=16384, width=512), train=TrainConfig(batch_size=2))
    assert tokens_at_once(small) == BATCH_TOKENS and tokens_at_once(large) == 2 * large.model.context


@pytest.mark.parametrize("count", [2, T + 1, 5 * T + 3])
def test_every_token_counts_once(count: int) -> None:
    """With a model that knows nothing, each token costs ln V, so the total counts them."""
    parameters = {**to_mlx(random_parameters(CONFIG)), "head": mx.zeros((CONFIG.vocabulary_size, CONFIG.width))}
    got = evaluate(parameters, CONFIG, random_tokens(count), 100)
    assert got.nats == pytest.approx((count - 1) * math.log(CONFIG.vocabulary_size), rel=1e-7)
    assert got.loss == pytest.approx(math.log(CONFIG.vocabulary_size), rel=1e-7)
    assert got.perplexity == pytest.approx(CONFIG.vocabulary_size, rel=1e-6)


def test_each_token_weighs_the_same_wherever_it_stands() -> None:
    """In a model without attention (zero values) the loss depends on one token only, so the total is a known sum."""
    parameters = random_parameters(CONFIG)
    parameters = {
        n: 0 * a if n in ("attention_output", "mlp_output", "embedding") else a for n, a in parameters.items()
    }
    parameters["embedding"][:, 0] = 1.0
    tokens = random_tokens(4 * T + 5)
    scores = numpy_model.logits(parameters, CONFIG, tokens[:1].astype(int))[0]
    prices = np.log(np.exp(scores).sum()) - scores
    assert np.ptp(prices) > 1
    got = evaluate(to_mlx(parameters), CONFIG, tokens, 100)
    assert got.nats == pytest.approx(prices[tokens[1:]].sum(), rel=1e-6)


def test_bfloat16_is_close() -> None:
    parameters, tokens = to_mlx(random_parameters(CONFIG)), random_tokens(20 * T)
    exact = evaluate(parameters, CONFIG, tokens, 100)
    half = evaluate(parameters, CONFIG, tokens, 100, dtype=mx.bfloat16)
    assert half.nats != exact.nats
    assert_close(np.array(half.loss), np.array(exact.loss), "model", "bfloat16")


def test_units() -> None:
    evaluation = Evaluation(nats=100 * math.log(2), tokens=50, bytes=200.0)
    assert evaluation.bits_per_byte == pytest.approx(0.5)
    assert evaluation.loss == pytest.approx(2 * math.log(2))
    assert evaluation.perplexity == pytest.approx(4.0)
    assert math.isfinite(Evaluation(nats=1e9, tokens=1, bytes=1.0).perplexity)


def test_a_fingerprint_is_that_of_the_text_whatever_the_vocabulary(tmp_path: Path) -> None:
    def prepared(words: str, vocabulary: int) -> str:
        path = tmp_path / f"{words}.txt"
        path.write_text("\n<|endoftext|>\n".join(story(n).replace("The end", words) for n in range(400)))
        corpus = prepare(DataConfig(sources=(str(path),), held_out=0.1, vocabulary_size=vocabulary))
        return fingerprint(corpus.valid_text_hash)

    assert prepared("The end", 512) == prepared("The end", 600) != prepared("An end", 512)


def test_texts_are_combined_by_their_shares_of_the_bytes() -> None:
    parts = [Evaluation(700.0, tokens=100, bytes=1000.0), Evaluation(30.0, tokens=20, bytes=10.0)]
    whole = combined([0.25, 0.75], parts)
    assert whole.bits_per_byte == pytest.approx(0.25 * parts[0].bits_per_byte + 0.75 * parts[1].bits_per_byte)
    # Of 1,000 bytes 250 are of the first text, in 25 tokens, and 750 of the second, in 1,500.
    assert whole.tokens == 120 and whole.loss == pytest.approx((25 * 7.0 + 1500 * 1.5) / 1525)
    assert combined([1.0], parts[:1]) == parts[0]
    assert whole.with_counting_nats is None
    mixed = [replace(part, nats=2 * part.nats, with_counting_nats=part.nats) for part in parts]
    assert combined([0.25, 0.75], mixed).with_counting_bits_per_byte == pytest.approx(whole.bits_per_byte)
