from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_tiny.data.tokenizer import LONGEST_WORD, Tokenizer
from mlx_tiny.errors import TinyError

TRAPS = [
    "",
    " ",
    "  two  spaces  ",
    "\u2581",
    "a\u2581b \u2581\u2581 c\u2581",
    "\u2585 and \u2047",
    "\0",
    "a\0b",
    "<s>",
    "</s> <s>Ann<s>",
    "<unk>",
    "<0x41>",
    "<pad>",
    "\n",
    "\n\n a\n",
    "\r\n\r",
    "\ta\t",
    "\ufeff\ufffd\ufffe",
    "e\u0301 \u00e9 \u00a0 \u3000 \u2028",
    "\U0001f600\U0010ffff",
    "\x01\x1f\x7f\x80\x9f",
    "fi\ufb01 \u212b",
]


def any_text() -> st.SearchStrategy[str]:
    plain = st.text(st.characters(exclude_categories=["Cs"]))
    return st.lists(st.one_of(plain, st.sampled_from([*TRAPS, " ", "Ann found the ball."]))).map("".join)


@pytest.mark.parametrize("text", TRAPS)
def test_traps_round_trip(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(text=any_text())
@settings(max_examples=400, deadline=None)
def test_any_text_round_trips(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert b"".join(tokenizer.piece_bytes[index] for index in ids) == text.encode()
    assert tokenizer.bos not in ids


@given(text=any_text())
@settings(max_examples=200, deadline=None)
def test_stream_gives_whole_characters_and_the_same_text(tokenizer: Tokenizer, text: str) -> None:
    parts = list(tokenizer.decode_stream(iter(tokenizer.encode(text))))
    assert "".join(parts) == text
    assert all(parts)


def test_stream_waits_for_the_last_byte_of_a_character(tokenizer: Tokenizer) -> None:
    given_so_far: list[int] = []

    def ids() -> object:
        for index in tokenizer.encode("\U0001f600!"):
            given_so_far.append(index)
            yield index

    stream = tokenizer.decode_stream(ids())  # type: ignore[arg-type]
    assert next(stream) == "\U0001f600"
    assert len(given_so_far) == 4
    assert list(stream) == ["!"]


def test_bytes_that_are_no_text_become_the_replacement_character(tokenizer: Tokenizer) -> None:
    broken = tokenizer.encode("\U0001f600")[:2]
    assert tokenizer.decode(broken) == "\ufffd"
    assert "".join(tokenizer.decode_stream(broken)) == "\ufffd"
    assert tokenizer.decode([tokenizer.bos, *tokenizer.encode("a"), tokenizer.bos]) == "a"


def test_words_one_by_one_give_what_sentencepiece_gives_for_the_whole(tokenizer: Tokenizer, stories: list[str]) -> None:
    for text in [*stories[:50], "  many   spaces \n and\n\n lines  ", "unseen \U0001f600 words, 1234!"]:
        assert tokenizer.encode(text) == tokenizer._processor.encode(text)


@given(text=st.text(st.sampled_from("ab .\nAnn"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_word_splitting_is_exact(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.encode(text) == tokenizer._processor.encode(text)


def test_runs_without_spaces_of_any_length_round_trip(tokenizer: Tokenizer) -> None:
    for length in (LONGEST_WORD - 1, LONGEST_WORD, LONGEST_WORD + 1, 2 * LONGEST_WORD + 3):
        text = "ab\u2581\U0001f600"[: length % 4 + 1] * length
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_batch_agrees_with_single_texts(tokenizer: Tokenizer, stories: list[str]) -> None:
    batch = tokenizer.encode_batch(stories[:20])
    assert all(ids.dtype == np.uint16 for ids in batch)
    assert [ids.tolist() for ids in batch] == [tokenizer.encode(text) for text in stories[:20]]


def test_spaces_stay_with_their_word_and_compress(tokenizer: Tokenizer, stories: list[str]) -> None:
    ids = tokenizer.encode(stories[0])
    assert len(ids) < len(stories[0]) / 2
    assert b" the" in [tokenizer.piece_bytes[index] for index in ids]


def test_training_again_gives_the_same_model(tokenizer: Tokenizer, stories: list[str]) -> None:
    again = Tokenizer.train(iter(stories), 640)
    assert again.hash == tokenizer.hash
    assert again.size == 640
    assert Tokenizer.train(stories, 600).hash != tokenizer.hash


def test_save_and_load(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.model")
    loaded = Tokenizer.load(tmp_path / "tokenizer.model")
    assert (loaded.hash, loaded.size, loaded.bos) == (tokenizer.hash, tokenizer.size, tokenizer.bos)
    assert loaded.encode("Ann found") == tokenizer.encode("Ann found")


def test_load_refuses_a_file_that_is_not_a_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"garbage")
    with pytest.raises(TinyError, match="bad is not a tokenizer"):
        Tokenizer.load(tmp_path / "bad")
    with pytest.raises(TinyError, match="does not exist"):
        Tokenizer.load(tmp_path / "absent")


def test_too_large_a_vocabulary_names_the_largest(stories: list[str]) -> None:
    with pytest.raises(TinyError, match=r"Expected a vocabulary of at most \d+, got 30000") as caught:
        Tokenizer.train(stories, 30000)
    largest = int(str(caught.value).split("at most ")[1].split(",")[0])
    assert Tokenizer.train(stories, largest).size == largest
    with pytest.raises(TinyError, match=r"Give more text\.$"):
        Tokenizer.train(["a few words"], 512)
    with pytest.raises(TinyError, match="too small for any vocabulary"):
        Tokenizer.train([], 512)


def test_large_alphabets_leave_room_for_merges() -> None:
    texts = ["".join(chr(0x4E00 + (7 * i * j + i) % 3000) for j in range(40)) + " the cat sat" for i in range(200)]
    trained = Tokenizer.train(texts, 1024)
    assert trained.decode(trained.encode(texts[0])) == texts[0]
    assert b" the" in trained.piece_bytes


@pytest.mark.parametrize("special", ["\u2585", "\0", "\u2581", "\t", "<s> <unk> <0x41> "])
def test_characters_that_sentencepiece_reserves_do_not_spoil_training(stories: list[str], special: str) -> None:
    texts = [special + story.replace(" ", " " + special, 1) for story in stories]
    trained = Tokenizer.train(texts, 600)
    assert b" the" in trained.piece_bytes
    assert [trained.decode(trained.encode(text)) for text in texts[:20]] == texts[:20]
    assert all(trained.bos not in trained.encode(text) for text in texts[:20])


def test_lone_surrogates_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TinyError, match="lone surrogate"):
        tokenizer.encode("a \ud800")


def test_training_is_silent(capfd: pytest.CaptureFixture[str], stories: list[str]) -> None:
    Tokenizer.train(stories[:200], 512)
    assert capfd.readouterr() == ("", "")


def test_sample_is_bounded(stories: list[str]) -> None:
    taken = 0

    def texts() -> object:
        nonlocal taken
        for story in stories:
            taken += 1
            yield story

    Tokenizer.train(texts(), 512, sample_bytes=20_000)  # type: ignore[arg-type]
    assert taken < 150


def test_import_is_light() -> None:
    heavy = "{'mlx', 'datasets', 'sentencepiece', 'pyarrow'}"
    code = f"import sys, mlx_tiny.data.prepare, mlx_tiny.data.batches; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
