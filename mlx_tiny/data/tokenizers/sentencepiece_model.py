"""Writes a model of sentencepiece with given pieces, each in the bytes that sentencepiece itself writes.

A model is a message of protocol buffers: field 1 is a piece, of which there are many, and what follows are the
settings. A piece has a text (field 1), a score (2, a float) and a type (3), as `sentencepiece_model.proto` says.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

NORMAL, UNKNOWN, CONTROL, MARKER, BYTE = 1, 2, 3, 4, 6
"""The types of pieces; a marker is what sentencepiece calls a user-defined symbol."""
_PIECE = b"\x0a"
_TEXT, _SCORE, _TYPE = b"\x0a", b"\x15", b"\x18"
"""A field begins with its number, times 8, and 2 for what has a length, 5 for 4 bytes, or 0 for a number."""


class Piece(NamedTuple):
    """A token of sentencepiece."""

    text: str
    score: float = 0.0
    type: int = NORMAL


def with_pieces(model: bytes, pieces: Iterable[Piece]) -> bytes:
    """The model with other pieces, in the order of their ids, and the same settings."""
    return b"".join(_PIECE + _with_length(_written(piece)) for piece in pieces) + _settings(model)


def _written(piece: Piece) -> bytes:
    written = _TEXT + _with_length(piece.text.encode()) + _SCORE + struct.pack("<f", piece.score)
    return written if piece.type == NORMAL else written + _TYPE + bytes([piece.type])


def _settings(model: bytes) -> bytes:
    """What follows the pieces."""
    place = 0
    while model[place : place + 1] == _PIECE:
        length, shift = 0, 0
        while True:
            place += 1
            length |= (model[place] & 0x7F) << shift
            shift += 7
            if model[place] < 0x80:
                break
        place += 1 + length
    return model[place:]


def _with_length(content: bytes) -> bytes:
    """The content after its length, in groups of 7 bits, of which the last one has no higher bit."""
    length, written = len(content), bytearray()
    while length >= 0x80:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*written, length]) + content
