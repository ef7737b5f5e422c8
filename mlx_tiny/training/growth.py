"""Batches that grow during a run: shorter sequences, or fewer of them, in the first part of the budget."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.config import RunConfig
from mlx_tiny.config.train import GROWTH
from mlx_tiny.data.batches import BatchStream, MixedStream


def batch_at(stream: BatchStream | MixedStream, config: RunConfig, fraction: float) -> NDArray[np.int32]:
    """The next batch when this fraction of the budget is spent, [B, T+1].

    Where sequences are short, the same ones are cut into more, with as many predicted tokens. The last token of a part
    is the first of the next one, as it is between the sequences of the stream.
    """
    train, context = config.train, config.model.context
    unit = train.micro_batches
    sequences = max(unit, train.batch_size // _divisor(train.small_batches, fraction) // unit * unit)
    length = context // _divisor(train.short_sequences, fraction)
    columns = np.arange(0, context, length)[:, None] + np.arange(length + 1)
    return stream.take(sequences)[:, columns].reshape(-1, length + 1)


def stages(config: RunConfig) -> list[float]:
    """The fractions of the budget from which on batches have another shape."""
    shares = config.train.short_sequences, config.train.small_batches
    return sorted({0.0, *(share * k / len(GROWTH) for share in shares if share for k in range(1, len(GROWTH) + 1))})


def _divisor(share: float, fraction: float) -> int:
    """1 after the first `share` of the budget, and before that the part of `GROWTH` whose turn it is."""
    return 1 if fraction >= share else GROWTH[int(fraction / share * len(GROWTH))]
