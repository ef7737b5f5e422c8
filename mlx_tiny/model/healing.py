"""Token healing: a prompt continues as if it had not been cut.

The end of a prompt is seldom the end of a token. After "Once upon a " comes " time", a token that begins before the
space; but the tokens of the prompt alone end in a lone space, after which the model has never seen a word. So the token
that crosses the end of the prompt is drawn anew. It begins at one of the last places of the prompt: for each place, the
text before it is encoded as always (the lead), and the candidates are the tokens that begin with the text after it. The
probability of a candidate is that of its lead times its own after the lead. So the draw is exact among all texts that
begin with the prompt, if their tokens are those that the tokenizer gives.
"""

from __future__ import annotations

import codecs
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.errors import TinyError

_WHITESPACE = (b" ", b"\n", b"\t")


@dataclass(frozen=True)
class Ending:
    """The tokens that may cross the end of a prompt from one place on."""

    lead: list[int]
    """Tokens between `Start.tokens` and the place."""
    allowed: NDArray[np.bool_]
    """[V] which tokens begin with the prompt's bytes after the place."""


@dataclass(frozen=True)
class Start:
    """A prompt as the model reads it: tokens, and then one of the endings."""

    tokens: list[int]
    """At least one; the first is BOS, unless tokens are dropped."""
    endings: Sequence[Ending] = ()
    """Empty if the tokens are the whole prompt."""
    rest: bytes = b""
    """The prompt's bytes after the tokens; the text of every ending begins with them."""
    dropped: int = 0
    """Number of tokens at the beginning of the prompt for which the context has no room."""


def start_of(tokenizer: Tokenizer, prompt: bytes, context: int) -> Start:
    """How the texts begin that begin with `prompt`.

    Args:
        prompt: UTF-8, of which the last character may be cut.
        context: of the model, in tokens; of a longer prompt the end is kept.

    Raises:
        TinyError: the prompt is not UTF-8.
    """
    whole = Start([tokenizer.bos, *_encode(tokenizer, prompt)])
    if not prompt or whole.tokens[-1] in tokenizer.markers.values():
        return _fitting(whole, context)  # no token crosses the end of a marker
    pieces = _text_pieces(tokenizer)
    kept, tail = _split(tokenizer, whole.tokens, _longest(pieces))
    endings = list(_endings(tokenizer, pieces, tail))
    if len(endings) == 1 and endings[0].allowed.sum() == 1:
        return _fitting(whole, context)  # this is the only way
    columns = zip(*(ending.lead for ending in endings), strict=False)
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
    start = Start(
        [*kept, *shared],
        [Ending(ending.lead[len(shared) :], ending.allowed) for ending in endings],
        tail[sum(len(tokenizer.piece_bytes[token]) for token in shared) :],
    )
    return _fitting(start if longest_lead(start.endings) < context else whole, context)


def beginning_with(pieces: Sequence[bytes], rest: bytes) -> NDArray[np.bool_]:
    """Which of `pieces` begin with `rest`, [V]."""
    return np.fromiter((piece.startswith(rest) for piece in pieces), np.bool_, len(pieces))


def longest_lead(endings: Sequence[Ending]) -> int:
    """Tokens in the longest lead, 0 without endings."""
    return max((len(ending.lead) for ending in endings), default=0)


def split_characters(text: bytes) -> tuple[str, bytes]:
    """The whole characters of a text in UTF-8, and the bytes of a character that is cut at its end.

    Raises:
        TinyError: there are other bytes that are not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return decoder.decode(text), decoder.getstate()[0]
    except UnicodeDecodeError as error:
        raise TinyError(
            "The prompt is not valid UTF-8",
            got=f"byte 0x{text[error.start]:02x} at position {error.start + 1}",
            remedy="Give valid Unicode text",
        ) from error


def _endings(tokenizer: Tokenizer, pieces: list[bytes], tail: bytes) -> Iterator[Ending]:
    """An ending for each place in the tail of a prompt at which a token can begin that crosses its end."""
    for place in range(max(0, len(tail) - _longest(pieces)), len(tail)):
        allowed = beginning_with(pieces, tail[place:])
        if allowed.any():
            yield Ending(_encode(tokenizer, tail[:place]), allowed)


def _encode(tokenizer: Tokenizer, text: bytes) -> list[int]:
    """The tokens of a text, of which a last character that is cut is spelled in bytes."""
    characters, cut = split_characters(text)
    return [*tokenizer.encode(characters), *(tokenizer.piece_bytes.index(bytes([byte])) for byte in cut)]


def _split(tokenizer: Tokenizer, tokens: list[int], length: int) -> tuple[list[int], bytes]:
    """The tokens that remain whatever follows; and the text after them, at least `length` bytes or all but BOS."""
    tail = b""
    for index in range(len(tokens) - 1, 0, -1):
        tail = tokenizer.piece_bytes[tokens[index]] + tail
        # A word begins there, so that the tail is encoded as in its text.
        if len(tail) >= length and tail.startswith(_WHITESPACE) and _encode(tokenizer, tail) == tokens[index:]:
            return tokens[:index], tail
    return tokens[:1], tail


def _text_pieces(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes of each token; empty for markers, of which no part is drawn."""
    markers = set(tokenizer.markers.values())
    return [b"" if index in markers else piece for index, piece in enumerate(tokenizer.piece_bytes)]


def _longest(pieces: list[bytes]) -> int:
    return max(map(len, pieces))


def _fitting(start: Start, context: int) -> Start:
    """The start without tokens at the beginning that are too many for the context."""
    dropped = max(0, len(start.tokens) + longest_lead(start.endings) - context)
    return dataclasses.replace(start, tokens=start.tokens[dropped:], dropped=dropped)
