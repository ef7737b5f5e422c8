"""Bounds the memory that MLX keeps on a Mac's GPU after its last use."""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.machine.hardware import memory_bytes

# MLX keeps freed buffers for results of the same size, by default until they fill almost the whole memory of a Mac. A
# training step takes back what the one before it freed: about 0.4 GB for `base` by its shapes, so on 8 GB all is kept.
_SHARE, _LEAST_BYTES = 16, 256 << 20


def cache_limit_bytes() -> int:
    """The most bytes of freed buffers that MLX keeps on a Mac."""
    return max(memory_bytes() // _SHARE, _LEAST_BYTES)


def bound_buffer_cache() -> None:
    """Bound MLX's cache of freed buffers on a Mac's GPU; elsewhere nothing happens."""
    if mx.metal.is_available():
        mx.set_cache_limit(cache_limit_bytes())
