"""Finds documents that a run was trained on among others: strength on them is not that on new text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.data.mixture import Corpus
from mlx_tiny.data.prepare import PreparedCorpus
from mlx_tiny.data.tokenizer import Tokenizer

_COMPARED_TOKENS = 64
"""Of a document whose end was held out so many tokens are compared, at its beginning."""


def count_learned(texts: Iterable[str], tokenizer: Tokenizer, corpora: Iterable[Corpus]) -> int:
    """How many of some texts the model was trained on.

    A text counts where a training document has the same tokens. Where about as many validation documents are there,
    they may be the ends of the training documents; there a text counts that begins as such a document begins.

    Args:
        tokenizer: of the model, with which the corpora are prepared.
        corpora: what the model was trained on.
    """
    encoded = [np.array(tokenizer.encode(text), np.uint16) for text in texts]
    known = np.zeros(len(encoded), bool)
    for corpus in corpora:
        for part in corpus.parts:
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


def _hash(tokens: NDArray[np.uint16]) -> bytes:
    return hashlib.blake2b(tokens.tobytes(), digest_size=8).digest()
