"""How much of a validation text is measured: its beginning, which is cut at the same place in every vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mlx_tiny.data.batches import documents_of
from mlx_tiny.data.documents import DocumentHash
from mlx_tiny.data.events.histories import count_events
from mlx_tiny.data.mixture import Corpus
from mlx_tiny.data.prepared import TOKEN_DTYPE, Part, PreparedCorpus, TokenFile
from mlx_tiny.units import format_bytes

_SLACK = 1.25
"""Times as much is read where a whole document or the whole text fits into it."""
_LEAST_BYTES = 10_000
"""Of each text of a mixture."""


def shortened(corpus: Corpus, most_bytes: int | None) -> Corpus:
    """The same data with about so many bytes of validation text; of a mixture, each text has its share of them.

    Args:
        most_bytes: None leaves all.
    """
    if most_bytes is None:
        return corpus
    if isinstance(corpus, PreparedCorpus):
        return _shortened(corpus, most_bytes)
    shares = [(share, max(_LEAST_BYTES, int(share * most_bytes)), text) for share, text in corpus.parts]
    return replace(corpus, parts=tuple(Part(share, _shortened(text, most)) for share, most, text in shares))


def extent_line(whole: Corpus, measured: Corpus) -> str | None:
    """What of the validation text is measured, in words; None where it is all."""
    pairs = zip(whole.parts, measured.parts, strict=True)
    told = [
        f"{format_bytes(part.corpus.valid_bytes)} of {format_bytes(all_of.corpus.valid_bytes)}"
        for all_of, part in pairs
        if part.corpus is not all_of.corpus
    ]
    return f"strength is measured on the first {', '.join(told)} of validation text" if told else None


def _shortened(corpus: PreparedCorpus, most_bytes: int) -> PreparedCorpus:
    """The first documents, until they have so many bytes; one that is much too long is cut, and ends there."""
    if corpus.valid_bytes <= _SLACK * most_bytes:
        return corpus
    documents, size, rest, hashed, events = 0, 0, b"", DocumentHash(), 0
    for text in _texts(corpus):
        if size + len(text) > _SLACK * most_bytes:
            text = rest = _cut(text, most_bytes - size)
            if not rest:
                break
        hashed.add(text)
        documents, size, events = documents + 1, size + len(text), events + count_events(text.decode())
        if rest or size >= most_bytes:
            break
    tokens = _tokens(corpus, documents - bool(rest), rest)
    counts = documents, size, hashed.value(), hashlib.sha256(tokens.tobytes()).hexdigest()
    return replace(
        corpus,
        valid=tokens,
        valid_bytes=size,
        bytes_per_token=size / (len(tokens) - 1),
        valid_text_hash=hashed.value(),
        valid_entropy_bits=None if rest else corpus.entropy_bits_of(documents),
        valid_file=TokenFile(len(tokens), *counts, events if corpus.valid_file.events else None),
    )


def _texts(corpus: PreparedCorpus) -> Iterator[bytes]:
    """The validation documents in UTF-8, read only as far as they are asked for."""
    pieces = corpus.tokenizer.piece_bytes
    for tokens in documents_of(corpus.valid, corpus.tokenizer.bos):
        yield b"".join(map(pieces.__getitem__, tokens.tolist()))


def _cut(text: bytes, most_bytes: int) -> bytes:
    """The beginning of a text, up to the end of a line or else of a word where one ends in its second half."""
    beginning = text[:most_bytes]
    for end in (b"\n", b" "):
        if (place := beginning.rfind(end)) > most_bytes / 2:
            return beginning[:place]
    return beginning.decode(errors="ignore").encode()


def _tokens(corpus: PreparedCorpus, documents: int, rest: bytes) -> np.ndarray:
    """A token file of the first whole documents, and of one more if it is not empty."""
    bos = corpus.tokenizer.bos
    ends = np.flatnonzero(np.asarray(corpus.valid) == bos)
    whole = np.asarray(corpus.valid[: ends[documents] + 1])
    if not rest:
        return whole
    more = np.frombuffer(corpus.tokenizer.encode_bytes(rest.decode()), TOKEN_DTYPE)
    return np.concatenate([whole, more, np.array([bos], TOKEN_DTYPE)])
