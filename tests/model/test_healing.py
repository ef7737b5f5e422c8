"""Token healing: the endings of a prompt against brute force, and against the tokens of texts that are cut."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy_model
import pytest
from numpy_model import SMALL, random_parameters, to_mlx
from tiny_run import story

from mlx_tiny.config import Sampling
from mlx_tiny.data.events.schema import Column, Schema
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.byte_pair import BytePairTokenizer
from mlx_tiny.data.tokenizers.characters import ByteTokenizer, CharacterTokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.data.tokenizers.pieces import PieceTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.model.generate import Reader, generate_tokens, score_endings
from mlx_tiny.model.healing import Ending, Start, longest_lead, split_characters, start_of

LONG = 10_000
DRAWS = 100
TEXT = "Once upon  a time,\n\n\tÜnter—the “naïve” 🙂👍🏽 storm.\nROMEO:\nO, 日本語のテキスト!  Yes… \r\n  end"


PIECES = [b"", b"a", b"b", b" ", b"ab", b"ba", b" a", b" ab", b"aab", b"bab "]
CODE = "def main():\n    for x in y:\n        if x:\n            return x  # no\n\n\nclass A:\n    b = 1\n"
CONFIG = replace(SMALL, vocabulary_size=256)


class Toy(PieceTokenizer):
    """A few pieces; the longest that fits is taken, from left to right."""

    def __init__(self) -> None:
        unused = [b""] * (CONFIG.vocabulary_size - len(PIECES))
        super().__init__(b"toy", [*PIECES, *unused], 0, {})

    def _encode_plain(self, text: str) -> bytes:
        rest, ids = text.encode(), []
        while rest:
            ids.append(max((i for i, p in enumerate(self.piece_bytes) if p and rest.startswith(p)), key=self._length))
            rest = rest[self._length(ids[-1]) :]
        return np.array(ids, "<u2").tobytes()

    def _length(self, index: int) -> int:
        return len(self.piece_bytes[index])


def beginnings(start: Start) -> set[tuple[int, ...]]:
    """All sequences of tokens that a start allows."""
    if not start.endings:
        return {tuple(start.tokens)}
    endings = [(ending.lead, int(token)) for ending in start.endings for token in np.flatnonzero(ending.allowed)]
    return {(*start.tokens, *lead, token) for lead, token in endings}


def by_brute_force(tokenizer: Tokenizer, prompt: bytes) -> Iterator[tuple[int, ...]]:
    """Of all sequences, those whose last token crosses the prompt's end, after the tokens of the text before it."""
    for length in range(1, len(prompt) + 1):
        for ids in itertools.product(range(1, len(PIECES)), repeat=length):
            *before, last = (tokenizer.piece_bytes[index] for index in ids)
            lead = b"".join(before)
            crosses = len(lead) < len(prompt) and prompt.startswith(lead) and (lead + last).startswith(prompt)
            if crosses and tokenizer.encode(lead.decode()) == list(ids[:-1]):
                yield (tokenizer.bos, *ids)


@pytest.mark.parametrize("prompt", ["a", "b", " ", "ab", "ba", "bab", "aab", " ab ", "b ab", "aaba", "ab a"])
def test_the_endings_are_those_of_brute_force(prompt: str) -> None:
    tokenizer = Toy()
    assert beginnings(start_of(tokenizer, prompt.encode(), LONG)) == set(by_brute_force(tokenizer, prompt.encode()))


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> list[Tokenizer]:
    texts = [TEXT * 3, *map(story, range(100))]
    return [
        BytePairTokenizer.train(texts, 700),
        BytePairTokenizer.train([*texts, CODE * 20], 500, roles=["user", "assistant"]),
        CharacterTokenizer.train(texts, 300),
        ByteTokenizer.train(texts, 300),
        CharacterTokenizer.train(texts, 400, roles=["user", "assistant"]),
    ]


@pytest.mark.parametrize(("context", "step"), [(LONG, 2), (40, 9)])
def test_wherever_a_text_is_cut_its_own_tokens_are_possible(
    tokenizers: list[Tokenizer], context: int, step: int
) -> None:
    """Also inside of characters, after spaces, and where the prompt is longer than the context."""
    for tokenizer, text in itertools.product(tokenizers, (TEXT, CODE, "<|user|>Hi you<|assistant|>O  a")):
        raw, ids = text.encode(), [tokenizer.bos, *tokenizer.encode(text)]
        ends = np.cumsum([len(tokenizer.piece_bytes[index]) for index in ids])
        for place in range(len(text) % 2, len(raw) + 1, step):
            start = start_of(tokenizer, raw[:place], context)
            crossing = int(np.searchsorted(ends, place)) + 1
            if ids[crossing - 1] in tokenizer.markers.values() and ends[crossing - 1] > place:
                continue  # part of a marker is plain text
            assert tuple(ids[start.dropped : crossing]) in beginnings(start), (tokenizer, raw[:place])
            for sequence in beginnings(start):
                whole = [*ids[: start.dropped], *sequence]
                assert b"".join(tokenizer.piece_bytes[index] for index in whole).startswith(raw[:place])
            assert 1 <= len(start.tokens) <= context - longest_lead(start.endings)


def test_a_history_of_events_goes_on_within_a_cell() -> None:
    """Also where a cell of one byte stands in several columns."""
    schema = Schema((Column("article", "item"), Column("title", "words"), Column("kind", "category")))
    text = "A7\tRED BAG\tB\nB\tRED BAG\tA\nA7\tBAG RED\tB\nB\tB\tA"
    tokenizer = ItemsTokenizer.train([text], 2048, schema=schema)
    ids = [tokenizer.bos, *tokenizer.encode(text)]
    ends = np.cumsum([len(tokenizer.piece_bytes[index]) for index in ids])
    for place in range(1, len(text) + 1):
        crossing = int(np.searchsorted(ends, place)) + 1
        assert tuple(ids[:crossing]) in beginnings(start_of(tokenizer, text[:place].encode(), LONG)), text[:place]


def test_a_prompt_that_can_end_in_one_way_only_is_read_as_it_is(tokenizers: list[Tokenizer]) -> None:
    tokenizer, text = tokenizers[3], TEXT[:12]
    assert start_of(tokenizer, text.encode(), LONG) == Start([tokenizer.bos, *tokenizer.encode(text)])


def test_no_token_crosses_the_end_of_a_marker(tokenizers: list[Tokenizer]) -> None:
    tokenizer = tokenizers[1]
    ids = [tokenizer.bos, *tokenizer.encode("<|user|>Hi<|assistant|>")]
    assert start_of(tokenizer, b"<|user|>Hi<|assistant|>", LONG) == Start(ids)
    assert ids[-1] == tokenizer.markers["assistant"]
    parts = [b"<|user|>"[:place] for place in range(1, len("<|user|>"))]
    last = {sequence[-1] for part in parts for sequence in beginnings(start_of(tokenizer, part, LONG))}
    assert not last & set(tokenizer.markers.values()), "nor is a part of a marker made whole"


def test_an_empty_prompt_is_bos(tokenizers: list[Tokenizer]) -> None:
    assert start_of(tokenizers[0], b"", LONG) == Start([tokenizers[0].bos])


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    assert split_characters("né".encode()[:2]) == ("n", b"\xc3")
    with pytest.raises(TinyError, match=r"0xff at position 2"):
        split_characters(b"a\xff\xc3")


def naive_endings(exact: dict[str, np.ndarray], start: Start) -> dict[tuple[int, ...], float]:
    """The probability of each ending, by the chain rule, in float64."""
    products = {}
    for sequence in beginnings(start):
        products[sequence] = 1.0
        for place in range(len(start.tokens), len(sequence)):
            scores = numpy_model.logits(exact, CONFIG, np.array(sequence[:place]))[-1]
            products[sequence] *= np.exp(scores - scores.max())[sequence[place]] / np.exp(scores - scores.max()).sum()
    return products


@pytest.mark.parametrize("prompt", [" ", "ab", " aab", "b ab ba"])
def test_an_ending_is_as_likely_as_its_tokens_together(prompt: str) -> None:
    exact, start = random_parameters(CONFIG, seed=6), start_of(Toy(), prompt.encode(), CONFIG.context)
    reader = Reader(to_mlx(exact), CONFIG)
    readers, scores_EV = score_endings(reader, reader.read(start.tokens), start.endings)
    expected = naive_endings(exact, start)
    for ending, row in zip(start.endings, np.exp(np.array(scores_EV)), strict=True):
        assert (row[~ending.allowed] == 0).all()
        for token in np.flatnonzero(ending.allowed):
            sequence = (*start.tokens, *ending.lead, int(token))
            assert row[token] == pytest.approx(expected[sequence], rel=1e-4)
    assert [after.length for after in readers] == [len(start.tokens) + len(ending.lead) for ending in start.endings]


def test_endings_are_drawn_as_often_as_they_are_likely() -> None:
    exact, start = random_parameters(CONFIG, seed=6), start_of(Toy(), b" aab", CONFIG.context)
    parameters, expected, counts = to_mlx(exact), naive_endings(exact, start), Counter[tuple[int, ...]]()
    for seed in range(DRAWS):
        sampling = Sampling(temperature=1.0, top_p=1.0, seed=seed, max_tokens=1)
        *ending, _ = generate_tokens(parameters, CONFIG, start.tokens, sampling, endings=start.endings)
        sequence = (*start.tokens, *ending)
        counts[sequence] += 1
    assert set(counts) <= set(expected)
    for sequence, product in expected.items():
        share = product / sum(expected.values())
        assert abs(counts[sequence] / DRAWS - share) <= 5 * math.sqrt(share * (1 - share) / DRAWS)


def test_what_follows_an_ending_is_the_text_after_its_tokens() -> None:
    """The reader goes on from the ending that was drawn; at temperature 0 that is the likeliest."""
    exact = random_parameters(CONFIG, seed=6)
    start = start_of(Toy(), b" aab", CONFIG.context)
    greedy = Sampling(temperature=0, max_tokens=9)
    expected = naive_endings(exact, start)
    best = max(expected, key=lambda sequence: expected[sequence])
    got = list(generate_tokens(to_mlx(exact), CONFIG, start.tokens, greedy, endings=start.endings))
    after = list(generate_tokens(to_mlx(exact), CONFIG, list(best), greedy))
    assert got == [*best[len(start.tokens) :], *after] and len(after) == 9


@pytest.mark.parametrize("lead", [[], [4, 5]])
def test_the_token_across_the_end_is_penalized_as_any_other(lead: list[int]) -> None:
    """After one lead an ending that allows every token is drawn as a token after the prompt and the lead."""
    parameters, every = to_mlx(random_parameters(CONFIG, seed=6)), np.ones(CONFIG.vocabulary_size, np.bool_)
    greedy, changed = Sampling(temperature=0, max_tokens=1), 0
    penalizing, chance = replace(greedy, repetition_penalty=50.0), np.random.default_rng(0)
    for _ in range(40):
        prompt = chance.integers(0, CONFIG.vocabulary_size, CONFIG.context - 3).tolist()
        (likeliest,) = generate_tokens(parameters, CONFIG, [*prompt, *lead], greedy)
        (expected,) = generate_tokens(parameters, CONFIG, [*prompt, *lead], penalizing)
        *ending, _ = generate_tokens(parameters, CONFIG, prompt, penalizing, endings=[Ending(lead, every)])
        assert ending == [*lead, expected]
        changed += expected != likeliest
    assert changed, "one of the likeliest tokens occurred in the prompt"
