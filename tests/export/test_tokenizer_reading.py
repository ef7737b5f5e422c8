"""Our tokenizer is made again from the tokenizer.json that it was exported as, and from no other one."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hostile_texts import any_text
from hypothesis import example, given

from mlx_tiny.data.tokenizer import Tokenizer, train_tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.export.tokenizer_json import tokenizer_files
from mlx_tiny.export.tokenizer_reading import tokenizer_of

ROLES = {"none": (), "chat": ("assistant", "system", "user"), "others": ("tool", "critic")}
TEXTS = ["The cat sat on the mat.\n\n  \tShe said: \u00e9\u00e9\u00e9, \u4f60\u597d! 2024 aaaa aaa\n"] * 40


@functools.cache
def exported(kind: str, roles: str) -> tuple[Tokenizer, str]:
    """A tokenizer and its tokenizer.json."""
    ours = train_tokenizer(kind, TEXTS, 400, roles=ROLES[roles])
    return ours, tokenizer_files(ours, 64)["tokenizer.json"]


@functools.cache
def read(kind: str, roles: str) -> Tokenizer:
    return tokenizer_of(json.loads(exported(kind, roles)[1]))


@pytest.mark.parametrize("kind", ["bpe", "bytes", "characters"])
@pytest.mark.parametrize("roles", ROLES)
@given(text=any_text())
@example("")
@example("<|user|>The  cat <|assistant|><s><unk><|tool|> sat\0\u2581<|endoftext|>")
def test_the_ids_are_the_same(kind: str, roles: str, text: str) -> None:
    ours, again = exported(kind, roles)[0], read(kind, roles)
    assert again.encode(text) == ours.encode(text)
    assert (again.piece_bytes, again.markers, again.bos) == (ours.piece_bytes, ours.markers, ours.bos)


def test_what_transformers_saved_again_is_read() -> None:
    ours, text = exported("bpe", "others")
    described = json.loads(text)
    described["added_tokens"].insert(0, {**described["added_tokens"][0], "id": 0, "content": "<|endoftext|>"})
    described["truncation"] = {"max_length": 64}
    described["decoder"] = None  # which another version may write otherwise
    assert tokenizer_of(described).piece_bytes == ours.piece_bytes


def _renamed(described: dict[str, Any]) -> None:
    vocabulary = described["model"]["vocab"]
    vocabulary["zebra"] = vocabulary.pop(max(vocabulary, key=vocabulary.__getitem__))


CHANGES: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("ByteLevel", lambda described: described.update(pre_tokenizer={"type": "ByteLevel", "use_regex": True})),
    ("model is another", lambda described: described["model"]["merges"].reverse()),
    ("WordPiece", lambda described: described["model"].update(type="WordPiece")),
    ("normalizer", lambda described: described.update(normalizer={"type": "NFC"})),
    ("post_processor", lambda described: described.update(post_processor=None)),
    ("added_tokens|another", lambda described: described["added_tokens"].append({"id": 2, "content": "<|x|>"})),
    ("", _renamed),
    ("ids that are not", lambda described: described["model"]["vocab"].pop("a")),
    ("is another", lambda described: described["model"].update(byte_fallback=False)),
]


@pytest.mark.parametrize(("words", "change"), CHANGES)
def test_another_tokenizer_is_refused(words: str, change: Callable[[dict[str, Any]], object]) -> None:
    described = json.loads(exported("bpe", "none")[1])
    change(described)
    with pytest.raises(TinyError, match=f"no tokenizer of mlx-tiny .*({words})"):
        tokenizer_of(described)


@pytest.mark.parametrize("described", [{}, {"model": None}, {"model": {"type": "Unigram", "vocab": [["a", 0.1]]}}])
def test_a_file_of_another_form_is_refused(described: dict[str, Any]) -> None:
    with pytest.raises(TinyError, match="no tokenizer of mlx-tiny"):
        tokenizer_of(described)
