"""Generation: the cache does not change results; seed and limits work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import mlx.core as mx
import numpy as np
import numpy_model
import pytest
from numeric import assert_close
from numpy_model import SMALL, random_parameters

import mlx_tiny.model.generate
from mlx_tiny.config import Sampling
from mlx_tiny.errors import TinyError
from mlx_tiny.model.counting import KneserNey
from mlx_tiny.model.generate import Reader, generate_tokens
from mlx_tiny.model.mixing import Gate, Mixed

CONFIG = replace(SMALL, key_value_heads=2)
GREEDY = Sampling(temperature=0, max_tokens=40)
EXACT = random_parameters(CONFIG, seed=4)
PARAMETERS = {name: mx.array(array.astype(np.float32)) for name, array in EXACT.items()}


def generate(prompt: list[int], sampling: Sampling, **kwargs) -> list[int]:
    return list(generate_tokens(PARAMETERS, CONFIG, prompt, sampling, **kwargs))


def naive_greedy(prompt: list[int], count: int) -> Iterator[int]:
    """The likeliest tokens, each by a whole pass in float64; a full context is cut to its last half."""
    window = list(prompt)
    for _ in range(count):
        if len(window) > CONFIG.context:
            window = window[-(CONFIG.context // 2) :]
        token = int(numpy_model.logits(EXACT, CONFIG, np.array(window))[-1].argmax())
        yield token
        window.append(token)


@pytest.mark.parametrize("length", [1, 5, CONFIG.context - 1, CONFIG.context])
def test_greedy_is_the_likeliest_token_by_full_recomputation(length: int) -> None:
    prompt = list(range(3, 3 + length))
    got = generate(prompt, GREEDY)
    assert got == list(naive_greedy(prompt, GREEDY.max_tokens))
    assert len(got) > 2 * CONFIG.context, "the window slid more than once"
    assert len(set(got)) > 5


def test_with_counting_the_likeliest_token_is_that_of_the_mixture() -> None:
    text = np.random.default_rng(0).integers(0, CONFIG.vocabulary_size, 200).astype(np.uint16)
    mixed = Mixed(KneserNey(text, CONFIG.vocabulary_size, bos=int(text[0])), Gate.constant(0.3))
    got, window = generate([5, 3], GREEDY, mixed=mixed), [5, 3]
    assert got != generate([5, 3], GREEDY)
    for token in got:
        if len(window) > CONFIG.context:
            window = window[-(CONFIG.context // 2) :]
        scores = numpy_model.logits(EXACT, CONFIG, np.array(window))[-1]
        assert token == mixed.log_probabilities(window, scores).argmax()
        window.append(token)


def test_a_context_of_one_token() -> None:
    config = replace(CONFIG, context=1)
    got = list(generate_tokens(PARAMETERS, config, [7], replace(GREEDY, max_tokens=5)))
    expected, last = [], 7
    for _ in range(5):
        last = int(numpy_model.logits(EXACT, config, np.array([last]))[-1].argmax())
        expected.append(last)
    assert got == expected


@pytest.mark.parametrize("compiled", [True, False])
def test_a_token_read_alone_is_scored_as_in_its_text(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second position of the context to its last, whatever room is left."""
    if not compiled:
        monkeypatch.setattr(mlx_tiny.model.generate, "decide_compilation", lambda _: (False, ""))
    mlx_tiny.model.generate.reading_step.cache_clear()
    tokens = np.random.default_rng(0).integers(0, CONFIG.vocabulary_size, CONFIG.context)
    whole = numpy_model.logits(EXACT, CONFIG, tokens)
    reader = Reader(PARAMETERS, CONFIG)
    assert_close(reader.read(tokens[:1].tolist()), whole[0], "cache", "float32")
    for place, token in enumerate(tokens[1:], 1):
        assert_close(reader.read_next(int(token)), whole[place], "cache", "float32", f"token {place}")
    assert reader.length == CONFIG.context
    mlx_tiny.model.generate.reading_step.cache_clear()


def test_the_seed_decides() -> None:
    sampling = Sampling(temperature=1.5, top_p=1.0, max_tokens=30, seed=1)
    once, again = generate([1, 2], sampling), generate([1, 2], sampling)
    assert once == again
    assert once != generate([1, 2], replace(sampling, seed=2))
    mx.random.seed(99)
    mx.eval(mx.random.normal((5,)))
    assert generate([1, 2], sampling) == once, "the global random state plays no part"


def test_tokens_come_one_by_one() -> None:
    stream = generate_tokens(PARAMETERS, CONFIG, [1], replace(GREEDY, max_tokens=3))
    assert next(stream) == generate([1], GREEDY)[0]
    assert len(list(stream)) == 2


def test_the_stop_token_ends_the_text_and_is_not_given() -> None:
    whole = generate([1], GREEDY)
    stop = whole[7]
    first = whole.index(stop)
    assert generate([1], GREEDY, stop=[stop]) == whole[:first]
    assert generate([stop], GREEDY, stop=()) == generate([stop], GREEDY, stop=[999])


@pytest.mark.parametrize("count", [1, 2, 17])
def test_no_more_tokens_than_asked(count: int) -> None:
    assert len(generate([1], Sampling(max_tokens=count))) == count


@pytest.mark.parametrize("length", [0, CONFIG.context + 1])
def test_a_prompt_that_does_not_fit_is_refused(length: int) -> None:
    with pytest.raises(TinyError, match="does not fit the model's context"):
        generate([1] * length, GREEDY)


def test_a_low_temperature_is_greedy() -> None:
    assert generate([5], Sampling(temperature=1e-5, max_tokens=20)) == generate([5], replace(GREEDY, max_tokens=20))
