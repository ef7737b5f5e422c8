"""What all kinds of tokenizers share: each id stands for some bytes, and a text is decoded from these."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mlx_tiny.data.documents import marker_text
from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_write

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN_CHARACTERS = 20
_PIECE_CHARACTERS = 1 << 16


class PieceTokenizer:
    """Base of the tokenizers; `mlx_tiny.data.tokenizer.Tokenizer` describes the attributes.

    A kind of its own defines `from_model`, `train` and `_encode_plain`.

    Args:
        model: see `Tokenizer`.
        piece_bytes: see `Tokenizer`.
        bos: see `Tokenizer`.
        markers: see `Tokenizer`.
    """

    unit = "byte"
    _cut = re.compile("")
    """Matches at the places where a text can be cut without a change of its tokens; here these are all places."""

    def __init__(self, model: bytes, piece_bytes: list[bytes], bos: int, markers: dict[str, int]) -> None:
        self.model, self.piece_bytes, self.bos, self.markers = model, piece_bytes, bos, markers
        self.hash = hashlib.sha256(model).hexdigest()
        self.size = len(piece_bytes)
        self._marker_ids = {marker_text(role): np.array([index], "<u2").tobytes() for role, index in markers.items()}
        self._marker = re.compile(f"({'|'.join(map(re.escape, self._marker_ids))})") if markers else None

    @classmethod
    def from_model(cls, model: bytes) -> PieceTokenizer:
        """The tokenizer with these contents of a file.

        Raises:
            ValueError: this is not a tokenizer of this kind.
        """
        raise NotImplementedError

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int, *, roles: Iterable[str] = ()) -> PieceTokenizer:
        """A tokenizer for `texts` with `vocabulary_size` ids, or with as many as the texts support.

        Raises:
            TinyError: there is no text.
        """
        raise NotImplementedError

    def save(self, path: Path) -> None:
        """Write the model to `path`, atomically."""
        with atomic_write(path) as file:
            file.write(self.model)

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`, without BOS.

        Raises:
            TinyError: `text` contains a lone surrogate, which no encoding can express.
        """
        ids: list[int] = np.frombuffer(self.encode_bytes(text), dtype="<u2").tolist()
        return ids

    def encode_bytes(self, text: str) -> bytes:
        """Token ids of `text` as little-endian 16-bit numbers: the fast path of `prepare`.

        Raises:
            TinyError: as `encode`.
        """
        try:
            parts = [text] if self._marker is None else self._marker.split(text)
            return b"".join(
                self._marker_ids.get(piece) or self._encode_plain(piece)
                for part in parts
                for piece in self._cut_up(part)
            )
        except (UnicodeError, RuntimeError, TypeError) as error:  # sentencepiece raises any of them
            lone = _LONE_SURROGATE.search(text)
            if lone is None:
                raise
            raise TinyError(
                "The text cannot be encoded: it contains a lone surrogate, which is half of a character",
                got=ascii(text[max(0, lone.start() - _SHOWN_CHARACTERS) : lone.end() + _SHOWN_CHARACTERS]),
                remedy="Give valid Unicode text",
            ) from error

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`; bytes that are not UTF-8, which a model may produce, become U+FFFD."""
        pieces = self.piece_bytes
        return b"".join([pieces[index] for index in ids]).decode("utf-8", errors="replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield the text of `ids` piece by piece, in whole characters; joined, it equals `decode`."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        for index in ids:
            if text := decoder.decode(self.piece_bytes[index]):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text

    def _cut_up(self, part: str) -> Iterator[str]:
        """A text without markers in pieces, or a marker; a piece takes 27 times its size while it is encoded."""
        start = 0
        while len(part) - start > _PIECE_CHARACTERS and (found := self._cut.search(part, start + _PIECE_CHARACTERS)):
            yield part[start : found.start()]
            start = found.start()
        yield part[start:]

    def _encode_plain(self, text: str) -> bytes:
        """`encode_bytes` of a text without markers; a lone surrogate raises any of the errors that are caught there."""
        raise NotImplementedError
