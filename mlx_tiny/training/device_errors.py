"""Errors of the device, such as too little memory: what they mean, and what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mlx_tiny.errors import TinyError

# Fragment of MLX's message -> what the user can do. The messages are those of mlx 0.32's Metal and common allocators.
_DEVICE_ERRORS = {
    "Impacting Interactivity": (
        "macOS stopped the GPU work because it held up the display",
        "Use more --micro-batches (shorter command buffers), or let the display sleep",
    ),
    "Insufficient Memory": ("The GPU ran out of memory", None),
    "alloc": ("Out of memory", None),
}


@contextlib.contextmanager
def device_errors_explained(batch_size: int, micro_batches: int) -> Iterator[None]:
    """Turn out-of-memory and time-out errors of MLX in the block into a TinyError that names the setting to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = "alloc" if isinstance(error, MemoryError) else str(error)
        for fragment, (failed, remedy) in _DEVICE_ERRORS.items():
            if fragment in text:
                raise TinyError(f"{failed} ({error})", remedy=remedy or _lower(batch_size, micro_batches)) from error
        raise


def _lower(batch_size: int, micro_batches: int) -> str:
    more = next((n for n in range(micro_batches + 1, batch_size + 1) if batch_size % n == 0), None)
    first = f"cut the batch in more parts with --micro-batches {more}" if more else "shorten --context"
    return f"Lower the memory of a step: {first}, or choose a smaller --preset"
