"""Token files become batches: an endless stream of training sequences, and the fixed windows of validation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.errors import TinyError

Tokens = NDArray[np.uint16]
_BLOCK_TOKENS = 1 << 16


class BatchStream:
    """Endless stream of training sequences, a pure function of the tokens, the seed and the position.

    Each epoch cuts the tokens, from a random offset below `context` on, into sequences of `context` + 1 tokens. The
    last token of a sequence is also the first of the next one, so that every token of the epoch is predicted once.
    With `bos`, sequences begin at documents instead; see `document_starts`. Then the sequences are shuffled. All epochs
    have the same number of sequences, so that one integer is the whole position.

    Args:
        tokens: uint16, more than `context`; may be memory-mapped, and is read only where a sequence lies.
        batch_size: sequences B per batch; a batch may straddle two epochs.
        context: predicted tokens T per sequence.
        seed: chooses offsets and orders.
        bos: the token with which each document begins, to begin sequences there.

    Raises:
        TinyError: fewer tokens than one sequence.
    """

    def __init__(self, tokens: Tokens, *, batch_size: int, context: int, seed: int, bos: int | None = None) -> None:
        require_tokens(len(tokens), context)
        self._tokens = np.asarray(tokens)
        self._batch_size, self._context, self._seed = batch_size, context, seed
        self._columns = np.arange(context + 1)
        self._epoch, self._starts = -1, np.zeros(0, np.int64)
        self._fixed_starts = None if bos is None else document_starts(self._tokens, bos, context)
        whole = max(1, (len(tokens) - context) // context)
        self.sequences_per_epoch = whole if self._fixed_starts is None else len(self._fixed_starts)
        self.position = 0
        """Sequences consumed since the beginning of the first epoch."""

    def seek(self, position: int) -> None:
        """Continue as if `position` sequences had been consumed."""
        if position < 0:
            raise TinyError("The position in the data is out of range", expected="0 or more", got=position)
        self.position = position

    def next_batch(self) -> NDArray[np.int32]:
        """The next sequences, [B, T+1]: all but the last column are inputs, all but the first are targets."""
        return self.take(self._batch_size)

    def take(self, count: int) -> NDArray[np.int32]:
        """The next `count` sequences, [count, T+1]."""
        starts = self._next_starts(count)
        batch: NDArray[np.int32] = self._tokens[starts[:, None] + self._columns].astype(np.int32)
        return batch

    def _next_starts(self, count: int) -> NDArray[np.int64]:
        parts = [np.zeros(0, np.int64)]
        while count:
            epoch, index = divmod(self.position, self.sequences_per_epoch)
            part = self._epoch_starts(epoch)[index : index + count]
            parts.append(part)
            self.position += len(part)
            count -= len(part)
        return np.concatenate(parts)

    def _epoch_starts(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            self._starts = self._shuffled_starts(epoch)
            self._epoch = epoch
        return self._starts

    def _shuffled_starts(self, epoch: int) -> NDArray[np.int64]:
        # Raw draws: numpy promises to keep them over its versions, and does not promise that of `permutation` (NEP 19).
        draws = np.random.PCG64(np.random.SeedSequence((self._seed % 2**64, epoch))).random_raw(
            self.sequences_per_epoch + 1
        )
        order = np.argsort(draws[1:], kind="stable").astype(np.int64)
        if self._fixed_starts is not None:
            return self._fixed_starts[order]
        spare = len(self._tokens) - 1 - self.sequences_per_epoch * self._context
        offset = int(draws[0]) % min(self._context, spare + 1)
        return offset + self._context * order


class MixedStream:
    """Endless stream of sequences of several texts in given shares, a pure function of them, the seed and the position.

    The first n sequences contain `shares[i]` times n of text i, as closely as whole numbers can. The texts take turns
    as evenly as possible, and each yields the sequences of its own `BatchStream` in their order.

    Args:
        texts: of each text its tokens, as for `BatchStream`.
        shares: of each text its share of the sequences; above 0, with sum 1.
        batch_size, context, seed, bos: as for `BatchStream`.

    Raises:
        TinyError: a text has fewer tokens than one sequence.
    """

    def __init__(
        self,
        texts: Sequence[Tokens],
        shares: Sequence[float],
        *,
        batch_size: int,
        context: int,
        seed: int,
        bos: int | None = None,
    ) -> None:
        self._streams = [
            BatchStream(text, batch_size=batch_size, context=context, seed=seed, bos=bos) for text in texts
        ]
        self._shares, self._batch_size, self._context = shares, batch_size, context
        self.position = 0
        """Sequences consumed since the beginning."""

    def seek(self, position: int) -> None:
        """Continue as if `position` sequences had been consumed."""
        self._streams[0].seek(position)  # raises the error of a wrong position
        self.position = position

    def next_batch(self) -> NDArray[np.int32]:
        """The next sequences, [B, T+1]: all but the last column are inputs, all but the first are targets."""
        return self.take(self._batch_size)

    def take(self, count: int) -> NDArray[np.int32]:
        """The next `count` sequences, [count, T+1]."""
        batch = np.empty((count, self._context + 1), np.int32)
        counts = self._counts(np.arange(self.position, self.position + count + 1, dtype=np.int64))
        for stream, of_text in zip(self._streams, counts, strict=True):
            stream.seek(int(of_text[0]))
            batch[np.diff(of_text) == 1] = stream.take(int(of_text[-1] - of_text[0]))
        self.position += count
        return batch

    def _counts(self, left: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """How many of the first `left` sequences belong to each text: the first one takes its share, and so on.

        With the next sequence exactly one of the counts rises, because each takes at most all that are left.
        """
        counts, rest = [], 1.0
        for share in self._shares[:-1]:
            counts.append(np.floor(left * min(1.0, share / rest) + 0.5).astype(np.int64))
            left, rest = left - counts[-1], rest - share
        return [*counts, left]


class ValidationWindows(NamedTuple):
    """All windows of an evaluation; see `validation_windows`."""

    inputs: NDArray[np.int32]
    """[N, T]"""
    targets: NDArray[np.int32]
    """[N, T]"""
    mask: NDArray[np.bool_]
    """[N, T], true where a target counts."""


def validation_windows(tokens: Tokens, context: int, limit_tokens: int | None = None) -> ValidationWindows:
    """Cut `tokens` into consecutive windows in which each token after the first is predicted exactly once.

    Args:
        tokens: uint16, at least 2.
        context: predicted tokens T per window; the last window is padded with zeros and masked.
        limit_tokens: how many tokens to predict, from the first on; None predicts all.

    Returns:
        Inputs, targets (the inputs shifted by one) and mask.
    """
    count = len(tokens) - 1 if limit_tokens is None else min(limit_tokens, len(tokens) - 1)
    if count < 1:
        raise TinyError("The validation data is too short", expected="at least 2 tokens", got=len(tokens))
    windows = -(-count // context)
    padded = np.zeros(windows * context + 1, np.int32)
    padded[: count + 1] = tokens[: count + 1]
    shape = (windows, context)
    inputs, targets = padded[:-1].copy(), padded[1:]
    inputs[count:] = 0
    return ValidationWindows(
        inputs.reshape(shape), targets.reshape(shape), (np.arange(windows * context) < count).reshape(shape)
    )


def padded_length(length: int, context: int) -> int:
    """The next power of two, at most the context: few different lengths, for each of which `decide` is asked once."""
    return min(context, 1 << (length - 1).bit_length())


def documents_of(tokens: Tokens, bos: int) -> Iterator[Tokens]:
    """The tokens of each document of a token file without BOS, read only as far as they are asked for."""
    for start, end in itertools.pairwise(_boundaries(tokens, bos)):
        yield tokens[start + 1 : end]


def document_starts(tokens: Tokens, bos: int, context: int) -> NDArray[np.int64]:
    """Where sequences of `context` predicted tokens begin that together predict every token, in order.

    These are the beginnings of the documents and, in a long document, every further place after `context` tokens. What
    is left of a sequence after the end of its document is the beginning of the next one; the last sequence ends with
    the file.
    """
    bounds = np.array([0, *_boundaries(tokens, bos), len(tokens) - 1], np.int64)
    counts = -(-np.diff(bounds) // context)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    starts: NDArray[np.int64] = np.repeat(bounds[:-1], counts) + context * (np.arange(counts.sum()) - before)
    return np.minimum(starts, len(tokens) - 1 - context, out=starts)


def _boundaries(tokens: Tokens, bos: int) -> Iterator[int]:
    for start in range(0, len(tokens), _BLOCK_TOKENS):
        found = np.flatnonzero(tokens[start : start + _BLOCK_TOKENS] == bos)
        yield from (start + found).tolist()


_SHORTEST_CONTEXT = 32
"""No model is advised to see less."""


def require_tokens(length: int, context: int) -> None:
    """Raise a TinyError when `length` training tokens do not fill one sequence of `context` predictions."""
    if length <= context:
        raise TinyError(
            "The training text is shorter than one sequence",
            expected=f"at least {context + 1} tokens for a context of {context}",
            got=f"{length} tokens",
            remedy="Give more text" + (", or a shorter context (--context)" if length > _SHORTEST_CONTEXT else ""),
        )
