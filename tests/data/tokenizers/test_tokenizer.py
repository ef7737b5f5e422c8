"""What holds for tokenizers of every kind."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_texts import TRAPS, any_text
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_tiny.config import TOKENIZERS
from mlx_tiny.data.tokenizer import KINDS, Tokenizer, load_tokenizer, train_tokenizer
from mlx_tiny.data.tokenizers import pieces
from mlx_tiny.errors import TinyError

each_kind = pytest.mark.parametrize("kind", KINDS)
Trained = Callable[[str], Tokenizer]


@pytest.fixture(scope="session")
def trained(stories: list[str]) -> Trained:
    """A tokenizer of each kind, trained once."""
    tokenizers = {kind: cls.train(stories, 640) for kind, cls in KINDS.items()}
    return tokenizers.__getitem__


@each_kind
@pytest.mark.parametrize("text", TRAPS)
def test_traps_round_trip(trained: Trained, kind: str, text: str) -> None:
    assert trained(kind).decode(trained(kind).encode(text)) == text


@each_kind
@given(text=any_text())
@settings(max_examples=150)
def test_any_text_round_trips(trained: Trained, kind: str, text: str) -> None:
    tokenizer = trained(kind)
    ids = tokenizer.encode(text)
    assert b"".join(tokenizer.piece_bytes[index] for index in ids) == text.encode()
    assert tokenizer.bos not in ids
    assert tokenizer.decode(ids) == text
    parts = list(tokenizer.decode_stream(iter(ids)))
    assert "".join(parts) == text
    assert all(parts)


@each_kind
@given(text=any_text(), size=st.integers(1, 5))
def test_a_text_that_is_cut_up_has_the_same_tokens(trained: Trained, kind: str, text: str, size: int) -> None:
    tokenizer = trained(kind)
    whole = tokenizer.encode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_PIECE_CHARACTERS", size)
        assert tokenizer.encode(text) == whole


@each_kind
def test_a_long_text_is_encoded_within_a_few_times_its_size(
    trained: Trained, kind: str, stories: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_PIECE_CHARACTERS", 1 << 12)
    text = "\n".join(stories) * 4
    trained(kind).encode_bytes(text[:9])
    tracemalloc.start()
    try:
        trained(kind).encode_bytes(text)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * len(text), "two bytes per token, at most one token per character, and twice that to join them"


@each_kind
def test_stream_waits_for_the_last_byte_of_a_character(trained: Trained, kind: str) -> None:
    given_so_far: list[int] = []

    def ids() -> object:
        for index in trained(kind).encode("\U0001f600!"):
            given_so_far.append(index)
            yield index

    stream = trained(kind).decode_stream(ids())  # type: ignore[arg-type]
    assert next(stream) == "\U0001f600"
    assert len(given_so_far) == 4
    assert list(stream) == ["!"]


@each_kind
def test_bytes_that_are_no_text_become_the_replacement_character(trained: Trained, kind: str) -> None:
    tokenizer = trained(kind)
    broken = tokenizer.encode("\U0001f600")[:2]
    assert tokenizer.decode(broken) == "\ufffd"
    assert "".join(tokenizer.decode_stream(broken)) == "\ufffd"
    assert tokenizer.decode([tokenizer.bos, *tokenizer.encode("a"), tokenizer.bos]) == "a"


@each_kind
def test_lone_surrogates_are_refused(trained: Trained, kind: str) -> None:
    with pytest.raises(TinyError, match="lone surrogate"):
        trained(kind).encode("a \ud800")


@each_kind
def test_a_saved_tokenizer_is_loaded_as_it_was(trained: Trained, kind: str, tmp_path: Path) -> None:
    tokenizer = trained(kind)
    tokenizer.save(tmp_path / "tokenizer.model")
    loaded = load_tokenizer(tmp_path / "tokenizer.model")
    assert type(loaded) is KINDS[kind]
    assert (loaded.hash, loaded.size, loaded.bos) == (tokenizer.hash, tokenizer.size, tokenizer.bos)
    assert loaded.piece_bytes == tokenizer.piece_bytes
    assert loaded.encode("Ann found\n  it") == tokenizer.encode("Ann found\n  it")


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_markers_are_tokens_of_their_own(stories: list[str], kind: str, tmp_path: Path) -> None:
    roles = ["user", "assistant", "a, b"]
    texts = [f"<|user|>Hi  there<|assistant|>{story}" for story in stories]
    tokenizer = train_tokenizer(kind, texts, 640, roles=roles)
    tokenizer.save(tmp_path / "tokenizer.model")
    for each in (tokenizer, load_tokenizer(tmp_path / "tokenizer.model")):
        assert sorted(each.markers) == sorted(roles)
        user, assistant, third = (each.markers[role] for role in roles)
        text = " <|user|> <|user|>a<|assistant|>\n  b <|nobody|> <|a, b|>c"
        ids = each.encode(text)
        assert [index for index in ids if index in each.markers.values()] == [user, user, assistant, third]
        assert each.decode(ids) == text
        assert each.encode("<|user|>") == [user]
        assert each.piece_bytes[third] == b"<|a, b|>"
    assert train_tokenizer(kind, texts, 640, roles=reversed(roles)).hash == tokenizer.hash
    assert not train_tokenizer(kind, texts, 640).markers


def test_markers_need_room_and_a_name(stories: list[str]) -> None:
    with pytest.raises(TinyError, match="no room for the markers of 9 roles"):
        train_tokenizer("bpe", stories, 260, roles=map(str, range(9)))
    for role in ("", "a\u2581", "a\0"):
        with pytest.raises(TinyError, match="cannot become a marker"):
            train_tokenizer("bpe", stories, 640, roles=[role])


@pytest.mark.parametrize(
    "model",
    [
        b"",
        b"garbage",
        b"{",
        b"{}",
        b'{"kind": "waves"}',
        b'{"kind": "bytes"}',
        b'{"kind": "bpe"}',
        b'{"kind": "characters", "characters": 5, "roles": []}',
        b'{"kind": "characters", "characters": "a", "roles": [], "more": 1}',
    ],
)
def test_a_file_that_is_not_a_tokenizer_is_refused(model: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(model)
    with pytest.raises(TinyError, match="bad is not a tokenizer"):
        load_tokenizer(tmp_path / "bad")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TinyError, match=r"No tokenizer at .*absent"):
        load_tokenizer(tmp_path / "absent")
