"""From a prompt to the text after it: bytes of the prompt, documents, turns, texts to stop at, and notices."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import hypothesis
import mlx.core as mx
import numpy as np
import pytest
from hypothesis import strategies
from numpy_model import random_parameters, to_mlx
from tiny_run import MODEL, story

from mlx_tiny.config import Sampling
from mlx_tiny.data.tokenizers.byte_pair import BytePairTokenizer
from mlx_tiny.data.tokenizers.characters import CharacterTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.model import writing
from mlx_tiny.model.writing import sample_text, until, write_text

PARAMETERS = to_mlx(random_parameters(MODEL, seed=3))
TOKENIZER = BytePairTokenizer.train([*map(story, range(60)), "Ünter 🙂🙂 ▁"], MODEL.vocabulary_size)
CHATTY = CharacterTokenizer(["user", "bot"], "abcdefgh")
CHATTY_MODEL = replace(MODEL, vocabulary_size=CHATTY.size)
CHATTY_PARAMETERS = to_mlx(random_parameters(CHATTY_MODEL, seed=3))
SHORT = Sampling(max_tokens=6, seed=2)


def write(prompt: str | bytes = "", sampling: Sampling = SHORT, **settings: Any) -> str:
    raw = prompt if isinstance(prompt, bytes) else prompt.encode()
    return "".join(write_text(PARAMETERS, MODEL, TOKENIZER, raw, sampling, **settings))


def chat(prompt: str, sampling: Sampling = SHORT, **settings: Any) -> str:
    return "".join(write_text(CHATTY_PARAMETERS, CHATTY_MODEL, CHATTY, prompt.encode(), sampling, **settings))


def drawing(monkeypatch: pytest.MonkeyPatch, ids: Iterable[int]) -> None:
    """Let the model draw these ids."""
    monkeypatch.setattr(writing, "generate_tokens", lambda *_, stop, **__: (index for index in ids_until(ids, stop)))


def ids_until(ids: Iterable[int], stop: Iterable[int]) -> Iterable[int]:
    for index in ids:
        if index in stop:
            return
        yield index


@pytest.mark.parametrize("prompt", ["", "Ann ", "Story 7. An", "Ünter 🙂", "The end.\n\n", " "])
def test_the_prompts_bytes_are_written_and_then_the_models(prompt: str) -> None:
    drawn: list[int] = []
    text = write(prompt, watch=drawn.append)
    assert len(drawn) == SHORT.max_tokens
    own = b"".join(TOKENIZER.piece_bytes[index] for index in drawn)
    # Of the first token a part may belong to the prompt.
    assert any(own[place:].decode(errors="replace") == text for place in range(len(TOKENIZER.piece_bytes[drawn[0]])))
    assert text == write(prompt) != write(prompt, Sampling(max_tokens=6, seed=3))


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_cut_character_is_completed(temperature: float) -> None:
    raw = "Ünter 🙂".encode()
    for place in (1, len(raw) - 1, len(raw) - 2, len(raw) - 3):
        text = write(raw[:place], Sampling(temperature=temperature, max_tokens=20))
        assert text and ord(text[0]) >= 128


def test_a_greedy_text_is_found_from_each_of_its_beginnings() -> None:
    """A model that knows one text by heart goes on with it, wherever the prompt is cut."""
    text = "Ann found the ball."
    ids = [TOKENIZER.bos, *TOKENIZER.encode(text), TOKENIZER.bos]
    following: dict[int, int] = {}
    for before, after in itertools.pairwise(ids):
        following.setdefault(before, after)
    assert len(following) == len(ids) - 1 <= MODEL.width, "each token has one successor"
    parameters = by_heart(following)
    greedy = Sampling(temperature=0, max_tokens=40)
    for place in range(len(text) + 1):
        raw = text[:place].encode()
        assert text[:place] + "".join(write_text(parameters, MODEL, TOKENIZER, raw, greedy)) == text
        first = "".join(write_text(parameters, MODEL, TOKENIZER, raw, replace(greedy, max_tokens=1)))
        assert (first != "") == (place < len(text)), "a token of the prompt does not count"


def by_heart(following: dict[int, int]) -> dict[str, mx.array]:
    """Weights of a model in which each of these tokens is followed by its one successor."""
    arrays = random_parameters(MODEL, seed=1)
    for name in ("attention_output", "mlp_output"):
        arrays[name][:] = 0
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((MODEL.width, MODEL.width)))[0]
    for direction, (before, after) in zip(directions, following.items(), strict=False):
        arrays["embedding"][before] = direction
        arrays["head"][after] = 10 * direction
    return to_mlx(arrays)


def test_documents_go_on_past_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = TOKENIZER.encode("One."), TOKENIZER.encode("Two.")
    drawing(monkeypatch, [*one, TOKENIZER.bos, *two, TOKENIZER.bos, *one])
    many = Sampling(max_tokens=100)
    assert write(sampling=many, documents=1) == "One."
    assert write(sampling=many, documents=2) == "One.\n\nTwo."
    assert write(sampling=many, documents=None) == "One.\n\nTwo.\n\nOne."
    assert write(sampling=Sampling(max_tokens=len(one) + 1), documents=None) == "One.\n\n"


def test_a_turn_ends_at_a_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing(monkeypatch, [*CHATTY.encode("Hi<|user|>Oh"), CHATTY.bos])
    assert chat("<|user|>Hello<|bot|>", turn=True) == "Hi"
    assert chat("<|user|>Hello<|bot|>") == "Hi<|user|>Oh"


def test_a_long_prompt_keeps_its_end_and_says_so() -> None:
    notices: list[str] = []
    prompt = story(1) * 3
    assert write(prompt, notice=notices.append)
    (notice,) = notices
    assert f"context of {MODEL.context}" in notice
    # What is read no longer says how long the prompt is.
    assert write("Ben lost the cake. " + prompt) == write(prompt)


@pytest.mark.parametrize(
    ("prompt", "words"), [("a<|endoftext|>\nb", ["endoftext"]), ("<|user|>Hi<|bot|>", []), ("<|bo", []), ("a|>", [])]
)
def test_a_marker_that_is_none_is_named(prompt: str, words: list[str]) -> None:
    notices: list[str] = []
    chat(prompt, notice=notices.append)
    assert len(notices) == len(words) and all(word in line for word, line in zip(words, notices, strict=True))


@pytest.mark.parametrize("settings", [{"documents": 0}, {"stop_texts": ["a", ""]}, {"prompt": b"\xffa"}])
def test_what_cannot_be_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(TinyError):
        write(**settings)


@hypothesis.given(
    strategies.lists(strategies.text("ab\n", max_size=4), max_size=8),
    strategies.lists(strategies.text("ab\n", min_size=1, max_size=4), max_size=3),
)
@hypothesis.example(["\nb", "\n"], ["b", "\nb\n"])
@hypothesis.example(["\nb\n"], ["b\n", "\nb\n"])
def test_a_text_ends_before_the_first_stop(parts: list[str], stops: list[str]) -> None:
    text = "".join(parts)
    got = list(until(parts, stops))
    complete = [end for end in range(len(text) + 1) if text[:end].endswith(tuple(stops))] if stops else []
    longest = max((len(stop) for stop in stops if complete and text[: complete[0]].endswith(stop)), default=0)
    assert "".join(got) == (text[: complete[0] - longest] if complete else text)
    assert all(got)


def test_only_what_may_become_a_stop_is_held_back() -> None:
    asked: list[str] = []

    def parts() -> Iterable[str]:
        for part in ("one ", "two\n", "\nthree", "\n", "\n\n", "four"):
            asked.append(part)
            yield part

    seen = [(text, asked[-1]) for text in until(parts(), ["\n\n\n", "x"])]
    assert seen == [("one ", "one "), ("two", "two\n"), ("\n\nthree", "\nthree")]


def test_samples_are_written_in_the_same_way() -> None:
    text = sample_text(PARAMETERS, MODEL, TOKENIZER, max_tokens=6, seed=2, prompt="Story 7. Ann ")
    assert text == "Story 7. Ann " + write("Story 7. Ann ")
