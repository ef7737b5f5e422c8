"""Finds documents that a run was trained on among others: strength on them is not that on new text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.data.batches import documents_of
from mlx_tiny.data.mixture import Corpus
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer

_COMPARED_TOKENS = 64
"""Of a document whose end was held out so many tokens are compared, at its beginning."""
_CHANGED_TOKENS = 4
"""Tokens at the beginning of a document that may be others than in the middle of a text."""
_MOST_SEARCHED = 64
"""Only of so few documents ends are held out."""
_COMPARED_EVENTS = 3
"""Fewer events at the beginning of two histories are often equal by chance."""


def count_learned(texts: Iterable[str], tokenizer: Tokenizer, corpora: Iterable[Corpus]) -> int:
    """How many of some texts the model was trained on.

    A text counts where a training document has the same tokens. Where about as many validation documents are there,
    they may be the ends of the training documents; there a text counts that begins as such a document begins. A history
    of events also counts where its first events are all those of a training history, or the other way round.

    Args:
        tokenizer: of the model, with which the corpora are prepared.
        corpora: what the model was trained on.
    """
    encoded = [np.array(tokenizer.encode(text), np.uint16) for text in texts]
    return int(_learned(encoded, tokenizer, _parts(corpora)).sum())


def count_learned_validation(measured: Corpus, learned: Iterable[Corpus]) -> int:
    """How many validation documents of prepared data a model was trained on.

    A document also counts where its beginning stands anywhere in a training text, because it may be the end of a
    document that is cut elsewhere.

    Args:
        measured, learned: in the tokens of one tokenizer.
    """
    parts, count = _parts(learned), 0
    for text in (part.corpus for part in measured.parts):
        # What is held out of a text is not trained on, whatever the model has read of the same histories.
        others = [part for part in parts if part.valid_text_hash != text.valid_text_hash or _held_nothing_out(part)]
        encoded = list(documents_of(np.asarray(text.valid), measured.tokenizer.bos))
        known = _learned(encoded, measured.tokenizer, others)
        if len(encoded) <= _MOST_SEARCHED:
            pairs = zip(known, encoded, strict=True)
            known = np.array([found or any(_occurs(tokens, part) for part in others) for found, tokens in pairs], bool)
        count += int(known.sum())
    return count


def _parts(corpora: Iterable[Corpus]) -> list[PreparedCorpus]:
    return [part.corpus for corpus in corpora for part in corpus.parts]


def _held_nothing_out(corpus: PreparedCorpus) -> bool:
    return corpus.record.found.trained_on_validation


def _learned(
    encoded: list[NDArray[np.uint16]], tokenizer: Tokenizer, corpora: Iterable[PreparedCorpus]
) -> NDArray[np.bool_]:
    known = np.zeros(len(encoded), bool)
    for corpus in corpora:
        if isinstance(tokenizer, ItemsTokenizer):
            known |= _known_histories(encoded, corpus, tokenizer)
        else:
            known |= _known(encoded, corpus, tokenizer.bos)
    return known


def _occurs(tokens: NDArray[np.uint16], corpus: PreparedCorpus) -> bool:
    """Whether the beginning of a document stands in a training text, without the tokens that a cut may change."""
    sought = np.ascontiguousarray(tokens[_CHANGED_TOKENS : _CHANGED_TOKENS + _COMPARED_TOKENS])
    if len(sought) < _COMPARED_TOKENS:
        return False
    train = np.asarray(corpus.train)
    places = np.flatnonzero(train[: len(train) - len(sought) + 1] == sought[0])
    for index in range(1, len(sought)):
        if not places.size:
            return False
        places = places[train[places + index] == sought[index]]
    return bool(places.size)


def _known(encoded: list[NDArray[np.uint16]], corpus: PreparedCorpus, bos: int) -> NDArray[np.bool_]:
    bounds = np.flatnonzero(np.asarray(corpus.train) == bos)
    starts, lengths = bounds[:-1] + 1, np.diff(bounds) - 1
    sizes = np.unique([len(tokens) for tokens in encoded])
    candidates = np.isin(lengths, sizes)
    pairs = zip(starts[candidates].tolist(), lengths[candidates].tolist(), strict=True)
    hashes = {_hash(corpus.train[start : start + length]) for start, length in pairs}
    known = np.array([_hash(tokens) in hashes for tokens in encoded], bool)
    if len(starts) <= 2 * corpus.record.valid.documents:
        compared = np.minimum(_COMPARED_TOKENS, lengths // 2)  # the last tokens before a cut may differ
        pairs = zip(starts.tolist(), compared.tolist(), strict=True)
        hashes = {_hash(corpus.train[start : start + length]) for start, length in pairs if length}
        sizes = np.unique(compared[compared > 0])
        known |= [any(_hash(tokens[:size]) in hashes for size in sizes if size < len(tokens)) for tokens in encoded]
    return known


def _known_histories(
    encoded: list[NDArray[np.uint16]], corpus: PreparedCorpus, tokenizer: ItemsTokenizer
) -> NDArray[np.bool_]:
    whole, beginnings = set[bytes](), set[bytes]()
    for tokens in documents_of(np.asarray(corpus.train), tokenizer.bos):
        hashes = _hashes_of_beginnings(tokens, tokenizer.event_end)
        whole.add(hashes[-1])
        beginnings.update(hashes[_COMPARED_EVENTS - 1 :])
    found = []
    for history in encoded:
        hashes = _hashes_of_beginnings(history, tokenizer.event_end)
        same = hashes[-1] in whole or hashes[-1] in beginnings
        found.append(same or not whole.isdisjoint(hashes[_COMPARED_EVENTS - 1 :]))
    return np.array(found, bool)


def _hashes_of_beginnings(tokens: NDArray[np.uint16], event_end: int) -> list[bytes]:
    """A hash of the first event, of the first two, and so on."""
    digest, hashes, start = hashlib.blake2b(digest_size=8), [], 0
    for end in (*np.flatnonzero(tokens == event_end).tolist(), len(tokens)):
        digest.update(tokens[start:end].tobytes())
        hashes.append(digest.digest())
        start = end
    return hashes


def _hash(tokens: NDArray[np.uint16]) -> bytes:
    return hashlib.blake2b(tokens.tobytes(), digest_size=8).digest()
