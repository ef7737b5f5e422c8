"""Strength document by document: by it two runs are compared, and the noise of the text is estimated.

    RUN/documents.safetensors            of each validation text the blocks below, and the checksum of the weights

A block is a document, or a part of one that is longer than `BLOCK_BYTES`: a token belongs to the block in which its
first byte lies, and the end of a document to its last block. So the same text has the same blocks in every vocabulary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.model.counting import Floats, Tokens
from mlx_tiny.training.arrays import open_arrays, require_identity, require_whole, save_arrays
from mlx_tiny.training.checkpoint import RunFolder

BLOCK_BYTES = 4096
LEAST_DOCUMENTS = 20
"""Of a text with fewer documents, blocks are drawn in place of documents."""
_LEAST_DRAWN, _MOST_DRAWN = 8, 2000
"""With fewer an interval says nothing; of more, neighbours are drawn together, which is about as good and faster."""
_DRAWS, _CONFIDENCE, _SEED = 2000, 0.95, 0
_WHAT = "file of documents"
_DTYPES = {"document": mx.uint32, "bytes": mx.uint32, "nats": mx.float32, "with_counting_nats": mx.float32}
"""Of the arrays of `Blocks`."""


@dataclass(frozen=True)
class Blocks:
    """What a model needs for each block of a text, in its order; [n] each."""

    document: NDArray[np.uint32]
    """Number of the document of which it is a part, from 0 on."""
    bytes: NDArray[np.uint32]
    """UTF-8 bytes of its tokens."""
    nats: NDArray[np.float32]
    """Negative log-likelihood of its tokens under the model alone."""
    with_counting_nats: NDArray[np.float32] | None = None
    """The same under the mixture with counting; None where there is none."""

    @property
    def documents(self) -> int:
        return int(self.document[-1]) + 1


@dataclass(frozen=True)
class DocumentsOfText:
    """Strength on one validation text of a run."""

    fingerprint: str
    """Of what was read; see `evaluate.fingerprint`."""
    share: float
    """Of the text in the strength of the run: 1 where it is the only one."""
    blocks: Blocks


def blocks_of(tokens: Tokens, tokenizer: Tokenizer, nats: Floats, with_counting_nats: Floats | None = None) -> Blocks:
    """Divide what each token costs among the blocks of the text.

    Args:
        tokens: uint16, more than n, beginning with a BOS; the n after it are those that were predicted.
        nats, with_counting_nats: float64 [n].
    """
    read = np.asarray(tokens[: len(nats) + 1])
    lengths = np.array([len(piece) for piece in tokenizer.piece_bytes], np.int64)[read[1:]]
    document = np.cumsum(read[:-1] == tokenizer.bos) - 1
    before = np.cumsum(lengths) - lengths
    first = np.searchsorted(document, np.arange(document[-1] + 1))
    # The end of a document has no bytes, and belongs to the block of the byte before it.
    place = before - before[first[document]] - (read[1:] == tokenizer.bos)
    block = np.maximum(place, 0) // BLOCK_BYTES
    starts = np.flatnonzero(np.diff(document, prepend=-1) | np.diff(block, prepend=-1))

    def added(values: Floats) -> NDArray[np.float32]:
        return np.add.reduceat(values, starts).astype(np.float32)

    return Blocks(
        document[starts].astype(np.uint32),
        np.add.reduceat(lengths, starts).astype(np.uint32),
        added(nats),
        None if with_counting_nats is None else added(with_counting_nats),
    )


def interval(texts: Sequence[DocumentsOfText], nats: Sequence[NDArray[np.float32]]) -> tuple[float, float] | None:
    """The 95 % interval of bits per byte over texts like these, by bootstrap (Efron 1979): percentiles of what it would
    be if documents were drawn anew from each text, with replacement, always with the same seed.

    It is the noise of the text alone: runs with other seeds differ beside it.

    Args:
        texts: those of a run.
        nats: of the blocks of each: alone, with counting, or the differences between two runs.

    Returns:
        Lower and upper end; None where a text has too few blocks.
    """
    drawn, chance = np.zeros(_DRAWS), np.random.default_rng(_SEED)
    for text, values in zip(texts, nats, strict=True):
        starts = _drawn_together(text.blocks)
        if len(starts) < _LEAST_DRAWN:
            return None
        costs = np.add.reduceat(values.astype(np.float64), starts)
        sizes = np.add.reduceat(text.blocks.bytes.astype(np.float64), starts)
        chosen = chance.integers(0, len(starts), (_DRAWS, len(starts)))
        drawn += text.share * costs[chosen].sum(axis=1) / math.log(2) / sizes[chosen].sum(axis=1)
    low, high = np.quantile(drawn, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2])
    return float(low), float(high)


def how_drawn(texts: Sequence[DocumentsOfText]) -> str:
    """What `interval` draws, in words."""
    amounts = [
        f"{text.blocks.documents:,} documents" if _by_document(text.blocks) else f"{len(text.blocks.bytes):,} blocks"
        for text in texts
    ]
    return f"bootstrap over {' and '.join(amounts)}"


def _by_document(blocks: Blocks) -> bool:
    return blocks.documents >= LEAST_DOCUMENTS


def _drawn_together(blocks: Blocks) -> NDArray[np.int64]:
    """Where each group of blocks begins that is drawn as one."""
    starts = np.flatnonzero(np.diff(blocks.document.astype(np.int64), prepend=-1))
    if not _by_document(blocks):
        starts = np.arange(len(blocks.bytes))
    return starts[:: -(-len(starts) // _MOST_DRAWN)]


def documents_path(run: RunFolder) -> Path:
    return run.path / "documents.safetensors"


def save_documents(run: RunFolder, texts: Sequence[DocumentsOfText]) -> None:
    """Keep what the finished model, whose weights are written, needs for each block.

    Raises:
        TinyError: disk full, no permission; or the weights are missing.
    """
    arrays = {
        f"{index}.{name}": mx.array(values)
        for index, text in enumerate(texts)
        for name, values in vars(text.blocks).items()
        if values is not None
    }
    described = [{"fingerprint": text.fingerprint, "share": text.share} for text in texts]
    save_arrays(
        documents_path(run),
        arrays,
        {"identity": run.identity(), "weights": run.weights_checksum() or "", "texts": json.dumps(described)},
    )


def read_documents(run: RunFolder) -> list[DocumentsOfText]:
    """What the finished model of a run needs for each block of its validation texts.

    Raises:
        TinyError: the file is missing, as in older and in interrupted runs, damaged, or belongs to other weights.
    """
    path = documents_path(run)
    if not path.exists():
        raise TinyError(
            f"The run at {run.path} does not say how strong it is on each document",
            expected=f"the file {path.name}, which is written when a run has spent its budget",
            remedy="Resume a run that was interrupted; runs of older versions have none",
        )
    arrays, texts = open_arrays(path, _WHAT)
    require_identity(path, _WHAT, texts.get("identity"), run.identity())
    try:
        described = [(str(text["fingerprint"]), float(text["share"])) for text in json.loads(texts["texts"])]
        expected = {name: mx.zeros(arrays[name].shape, _DTYPES[name.split(".")[1]]) for name in arrays}
    except (LookupError, TypeError, ValueError) as error:
        raise TinyError(f"The {_WHAT} {path} is damaged ({error})") from error
    require_whole(path, _WHAT, arrays, texts, expected)
    if texts.get("weights") != run.weights_checksum():
        raise TinyError(f"The {_WHAT} {path} belongs to other weights of the run")
    return [
        DocumentsOfText(*words, Blocks(**{name: np.array(arrays[f"{index}.{name}"]) for name in _names(arrays, index)}))
        for index, words in enumerate(described)
    ]


def _names(arrays: dict[str, mx.array], index: int) -> list[str]:
    return [name for name in _DTYPES if f"{index}.{name}" in arrays]
