"""The kinds `bytes` and `characters`: an id for each byte, and one for each character of an alphabet."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable

import numpy as np

from mlx_tiny.data.tokenizers.pieces import PieceTokenizer, marker_text
from mlx_tiny.errors import TinyError
from mlx_tiny.files import parse_json

_BOS = 0
_FIRST_BYTE = 1
_FIRST_CHARACTER = 257


class ByteTokenizer(PieceTokenizer):
    """One id per byte of the text in UTF-8.

    Ids: BOS, 256 bytes, the markers of `roles`.
    """

    kind = "bytes"

    def __init__(self, roles: Iterable[str] = (), characters: str = "") -> None:
        roles = list(roles)
        model = {"kind": self.kind, "characters": characters, "roles": roles}
        pieces = [b"", *(bytes([byte]) for byte in range(256)), *(character.encode() for character in characters)]
        markers = {role: len(pieces) + index for index, role in enumerate(roles)}
        pieces += [marker_text(role).encode() for role in roles]
        super().__init__(json.dumps(model).encode(), pieces, _BOS, markers)

    @classmethod
    def from_model(cls, model: bytes) -> ByteTokenizer:
        values = parse_json(model)
        tokenizer = cls(values["roles"], values["characters"])
        if tokenizer.model != model:
            raise ValueError(f"a tokenizer of the kind {cls.kind} with other contents than its own")
        return tokenizer

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int, *, roles: Iterable[str] = ()) -> ByteTokenizer:
        """The tokenizer, which is the same for all texts and sizes."""
        return cls(roles)

    def _encode_plain(self, text: str) -> bytes:
        return (np.frombuffer(text.encode(), np.uint8).astype("<u2") + _FIRST_BYTE).tobytes()


class CharacterTokenizer(ByteTokenizer):
    """One id per character of an alphabet; other characters are spelled in bytes.

    Ids: BOS, 256 bytes, the alphabet, the markers of `roles`.
    """

    kind = "characters"

    def __init__(self, roles: Iterable[str] = (), characters: str = "") -> None:
        super().__init__(roles, characters)
        self._ids = np.zeros(sys.maxunicode + 1, "<u2")
        code_points = np.frombuffer(characters.encode("utf-32-le"), "<u4")
        self._ids[code_points] = np.arange(len(code_points)) + _FIRST_CHARACTER

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int, *, roles: Iterable[str] = ()) -> CharacterTokenizer:
        """The tokenizer with the most frequent characters of `texts` that the size has room for."""
        roles = list(roles)
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        if not counts:
            raise TinyError("There is no text for an alphabet", remedy="Give some text")
        falling = sorted(counts, key=lambda character: (-counts[character], character))
        return cls(roles, "".join(falling[: max(0, vocabulary_size - _FIRST_CHARACTER - len(roles))]))

    def _encode_plain(self, text: str) -> bytes:
        ids = self._ids[np.frombuffer(text.encode("utf-32-le"), "<u4")]
        parts, start = [], 0
        for index in np.flatnonzero(ids == 0).tolist():
            parts += [ids[start:index].tobytes(), super()._encode_plain(text[index])]
            start = index + 1
        return b"".join([*parts, ids[start:].tobytes()])
