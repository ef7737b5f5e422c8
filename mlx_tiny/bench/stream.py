"""Random tokens for measurements, read from a file as in a run."""

from __future__ import annotations

import numpy as np

from mlx_tiny.bench.folder import temporary_folder
from mlx_tiny.config import RunConfig
from mlx_tiny.data.batches import BatchStream

_TOKENS = 1 << 18


def mapped_stream(config: RunConfig) -> BatchStream:
    """Batches from a memory-mapped file, as in a run."""
    tokens = np.random.default_rng(0).integers(0, config.model.vocabulary_size, _TOKENS, dtype=np.uint16)
    with temporary_folder() as folder:
        path = folder / "train.bin"
        tokens.tofile(path)
        mapped = np.memmap(path, dtype=np.uint16, mode="r")  # which outlives the file's name
    return BatchStream(mapped, batch_size=config.train.batch_size, context=config.model.context, seed=0)
