"""What a tokenizer is, which kinds there are, and how one is read from a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from mlx_tiny.data.events.schema import Schema
from mlx_tiny.data.tokenizers.byte_pair import BytePairTokenizer
from mlx_tiny.data.tokenizers.characters import ByteTokenizer, CharacterTokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.data.tokenizers.pieces import PieceTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.files import parse_json, read_whole

KINDS: dict[str, type[PieceTokenizer]] = {
    "bpe": BytePairTokenizer,
    "bytes": ByteTokenizer,
    "characters": CharacterTokenizer,
    "items": ItemsTokenizer,
}
"""Every kind of tokenizer. The file of a kind other than `bpe` is a JSON object whose `kind` is its name here."""

_MOST_BYTES = 32 << 20
"""Of a file; the largest vocabularies take about 1 MB."""


class Tokenizer(Protocol):
    """Encodes any text as ids below `size`, each of which stands for some bytes, and decodes them exactly."""

    model: bytes
    """Contents of its file."""
    hash: str
    """SHA-256 of `model`."""
    size: int
    """Number of ids, V."""
    bos: int
    """The id that separates documents; it is never produced from text."""
    piece_bytes: list[bytes]
    """The UTF-8 bytes of each id; empty for control symbols."""
    unit: str
    """What strength is measured per, in addition to the byte: "byte" (nothing else) or "event"."""
    markers: dict[str, int]
    """The id of each role's marker, such as "user" for the text `<|user|>`; no other ids encode this text."""

    def save(self, path: Path) -> None:
        """Write the model to `path`, atomically."""

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without BOS; TinyError where it contains a lone surrogate."""

    def encode_bytes(self, text: str) -> bytes:
        """Token ids of `text` as little-endian 16-bit numbers."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; bytes that are not UTF-8 become U+FFFD."""

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield the text of `ids` in whole characters; joined, it equals `decode`."""


def train_tokenizer(
    kind: str,
    texts: Iterable[str],
    vocabulary_size: int,
    *,
    exact: bool = False,
    roles: Iterable[str] = (),
    schema: Schema | None = None,
) -> Tokenizer:
    """Train a tokenizer on `texts`; the same texts in the same order give the same one.

    Args:
        kind: a name in `KINDS`.
        vocabulary_size: largest number of ids; there are fewer where the texts do not support so many.
        exact: fewer are an error.
        roles: whose markers are ids of their own.
        schema: where the texts are histories, which are encoded by the kind `items`, whatever `kind` is.

    Raises:
        TinyError: there is no text, or it does not support the exact size.
    """
    tokenizer: Tokenizer
    if schema is not None:
        tokenizer = ItemsTokenizer.train(texts, vocabulary_size, schema=schema)
    else:
        tokenizer = KINDS[kind].train(texts, vocabulary_size, roles=sorted(set(roles)))
    if exact:
        require_size(tokenizer.size, vocabulary_size)
    return tokenizer


def schema_of(tokenizer: Tokenizer | None) -> Schema | None:
    """The schema of the histories that a tokenizer encodes; None where it encodes texts."""
    return tokenizer.schema if isinstance(tokenizer, ItemsTokenizer) else None


def require_size(size: int, exact: int) -> None:
    """Raise a TinyError where a tokenizer with `size` ids is smaller than the one that was asked for."""
    if size < exact:
        raise TinyError(
            "The text is too small for the vocabulary",
            expected=f"a vocabulary of at most {size}",
            got=exact,
            remedy="Leave out --vocabulary-size, or give more text",
        )


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer of any kind.

    Raises:
        TinyError: the file is missing or not a tokenizer of this project.
    """
    model = read_whole(path, "tokenizer", _MOST_BYTES)
    try:
        return KINDS[_kind(model)].from_model(model)
    except (RuntimeError, OSError, ValueError, LookupError, TypeError) as error:
        raise TinyError(
            f"{path} is not a tokenizer of mlx_tiny", got=str(error), remedy="Delete it and prepare the data again"
        ) from error


def _kind(model: bytes) -> str:
    """Name of the kind; a model of sentencepiece never begins with the brace of a JSON object."""
    return str(parse_json(model)["kind"]) if model.startswith(b"{") else "bpe"
