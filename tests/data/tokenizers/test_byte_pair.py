from __future__ import annotations

import functools
import random
import re
import subprocess
import sys

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_tiny.data.tokenizers.byte_pair import LONGEST_WORD, BytePairTokenizer
from mlx_tiny.errors import TinyError


def test_words_one_by_one_give_what_sentencepiece_gives_for_the_whole(
    tokenizer: BytePairTokenizer, stories: list[str]
) -> None:
    for text in [*stories[:50], "  many   spaces \n and\n\n lines  ", "unseen \U0001f600 words, 1234!"]:
        assert tokenizer.encode(text) == tokenizer._processor.encode(text)


@given(text=st.text(st.sampled_from("ab .\nAnn"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_word_splitting_is_exact(tokenizer: BytePairTokenizer, text: str) -> None:
    assert tokenizer.encode(text) == tokenizer._processor.encode(text)


def test_runs_without_spaces_of_any_length_round_trip(tokenizer: BytePairTokenizer) -> None:
    for length in (LONGEST_WORD - 1, LONGEST_WORD, LONGEST_WORD + 1, 2 * LONGEST_WORD + 3):
        text = "ab\u2581\U0001f600"[: length % 4 + 1] * length
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_spaces_stay_with_their_word_and_compress(tokenizer: BytePairTokenizer, stories: list[str]) -> None:
    ids = tokenizer.encode(stories[0])
    assert len(ids) < len(stories[0]) / 2
    assert b" the" in [tokenizer.piece_bytes[index] for index in ids]


def test_training_again_gives_the_same_model(tokenizer: BytePairTokenizer, stories: list[str]) -> None:
    again = BytePairTokenizer.train(iter(stories), 640)
    assert again.hash == tokenizer.hash
    assert again.size == 640
    assert BytePairTokenizer.train(stories, 600).hash != tokenizer.hash


def test_a_text_gives_the_vocabulary_that_it_supports(stories: list[str]) -> None:
    most = BytePairTokenizer.train(stories, 30000)
    assert 640 < most.size < 30000
    exact = BytePairTokenizer.train(stories, most.size)
    assert exact.piece_bytes == most.piece_bytes
    assert exact.encode(stories[0]) == most.encode(stories[0])
    assert BytePairTokenizer.train(["a few words"], 512).encode("a")[0] >= 258
    assert BytePairTokenizer.train(["aa"], 260).size == 260
    with pytest.raises(TinyError, match="no text"):
        BytePairTokenizer.train([], 512)


CODE = [
    "def f(a):\n    if a:\n        return  a\n\n\n    else:\n\t\tb = [1,  2]\n                    # x\n" + " " * n
    for n in range(9)
]


@pytest.fixture(scope="module", params=["new", "old"])
def of_code(request: pytest.FixtureRequest) -> BytePairTokenizer:
    """A tokenizer of code with roles, and one as version 0.1 made it, without tokens for runs of spaces."""
    if request.param == "new":
        return BytePairTokenizer.train(CODE * 20, 420, roles=["user", "a b"])
    real = sentencepiece.SentencePieceTrainer.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sentencepiece.SentencePieceTrainer,
            "train",
            lambda **settings: real(**{**settings, "allow_whitespace_only_pieces": False}),
        )
        return BytePairTokenizer.train(CODE * 20, 420)


@given(
    text=st.lists(st.sampled_from([" ", "  ", "    ", "\n", "\t", "a", "(a):", "[1", "<|user|>", "<|"])).map("".join)
)
@settings(max_examples=300)
def test_runs_of_spaces_are_encoded_as_sentencepiece_encodes_the_whole(of_code: BytePairTokenizer, text: str) -> None:
    assert of_code.encode(text) == of_code._processor.encode(text)
    assert of_code.decode(of_code.encode(text)) == text


def test_runs_of_spaces_are_tokens(stories: list[str]) -> None:
    trained = BytePairTokenizer.train(CODE * 20, 420)
    assert [trained.piece_bytes[index] for index in trained.encode("        a")] == [b" " * 8, b"a"]


@given(text=st.text("ab ", max_size=30))
@settings(max_examples=100, deadline=None)
def test_each_piece_is_merged_of_the_same_two_parts(text: str) -> None:
    trained, merges = periodic()
    parts = [part for word in re.findall(" +[^ ]*|[^ ]+", text) for part in merged(word, merges)]
    assert [part.encode() for part in parts] == [trained.piece_bytes[index] for index in trained.encode(text)]


@functools.cache
def periodic() -> tuple[BytePairTokenizer, list[tuple[str, str]]]:
    """A tokenizer of repetitions, in which a piece is the text of several pairs of pieces; and its merges."""
    chance = random.Random(0)
    trained = BytePairTokenizer.train(["".join(chance.choices("aab ", k=200)) for _ in range(100)], 400)
    return trained, trained.merges()


def merged(word: str, merges: list[tuple[str, str]]) -> list[str]:
    """The parts of a word after all merges, one after the other, from the left."""
    parts = list(word)
    for left, right in merges:
        place = 0
        while place < len(parts) - 1:
            if parts[place] == left and parts[place + 1] == right:
                parts[place : place + 2] = [left + right]
            place += 1
    return parts


def test_large_alphabets_leave_room_for_merges() -> None:
    texts = ["".join(chr(0x4E00 + (7 * i * j + i) % 3000) for j in range(40)) + " the cat sat" for i in range(200)]
    trained = BytePairTokenizer.train(texts, 1024)
    assert trained.decode(trained.encode(texts[0])) == texts[0]
    assert b" the" in trained.piece_bytes


@pytest.mark.parametrize("special", ["\u2585", "\0", "\u2581", "\t", "<s> <unk> <0x41> "])
def test_characters_that_sentencepiece_reserves_do_not_spoil_training(stories: list[str], special: str) -> None:
    texts = [special + story.replace(" ", " " + special, 1) for story in stories]
    trained = BytePairTokenizer.train(texts, 600)
    assert b" the" in trained.piece_bytes
    assert [trained.decode(trained.encode(text)) for text in texts[:20]] == texts[:20]
    assert all(trained.bos not in trained.encode(text) for text in texts[:20])


def test_training_is_silent(capfd: pytest.CaptureFixture[str], stories: list[str]) -> None:
    BytePairTokenizer.train(stories[:200], 512)
    assert capfd.readouterr() == ("", "")


def test_sample_is_bounded(stories: list[str]) -> None:
    taken = 0

    def texts() -> object:
        nonlocal taken
        for story in stories:
            taken += 1
            yield story

    BytePairTokenizer.train(texts(), 512, sample_bytes=20_000)  # type: ignore[arg-type]
    assert taken < 150


def test_import_is_light() -> None:
    heavy = "{'mlx', 'datasets', 'sentencepiece', 'pyarrow'}"
    code = f"import sys, mlx_tiny.data.prepare, mlx_tiny.data.batches; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
