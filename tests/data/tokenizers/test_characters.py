from __future__ import annotations

import pytest

from mlx_tiny.data.tokenizers.characters import ByteTokenizer, CharacterTokenizer
from mlx_tiny.errors import TinyError


def test_bytes_are_bytes() -> None:
    tokenizer = ByteTokenizer.train([], 2048)
    assert tokenizer.size == 257
    assert tokenizer.encode("a\u00e9") == [1 + byte for byte in "a\u00e9".encode()]


def test_an_alphabet_has_the_most_frequent_characters() -> None:
    whole = CharacterTokenizer.train(["abba", "\u00e9b\U0001f600"], 2048)
    assert whole.size == 257 + 4
    assert whole.encode("ba\U0001f600") == [257, 258, 260]
    two = CharacterTokenizer.train(["abba", "\u00e9b\U0001f600"], 259)
    assert two.size == 259
    assert two.encode("ba\u00e9b") == [257, 258, *(1 + byte for byte in "\u00e9".encode()), 257]


def test_an_alphabet_needs_text() -> None:
    with pytest.raises(TinyError, match="no text"):
        CharacterTokenizer.train([], 2048)
