"""Finds documents that a run was trained on among others: strength on them is not that on new text."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.data.mixture import Corpus
from mlx_tiny.data.prepare import PreparedCorpus
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer

_COMPARED_TOKENS = 64
"""Of a document whose end was held out so many tokens are compared, at its beginning."""

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
    known = np.zeros(len(encoded), bool)
    for corpus in corpora:
        for part in corpus.parts:
            if isinstance(tokenizer, ItemsTokenizer):
                known |= _known_histories(encoded, part.corpus, tokenizer)
            else:
                known |= _known(encoded, part.corpus, tokenizer.bos)
    return int(known.sum())


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
    tokens = np.asarray(corpus.train)
    for start, end in itertools.pairwise(np.flatnonzero(tokens == tokenizer.bos).tolist()):
        hashes = _hashes_of_beginnings(tokens[start + 1 : end], tokenizer.event_end)
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
