"""Errors of the device, such as too little memory: what they mean, what to do, and whether a new process helps.

MLX raises the error of a Metal command buffer as RuntimeError, at the next work for the GPU or the next wait for it;
before 0.32 the process was aborted. The messages are those of mlx 0.32.4's allocators and of macOS.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mlx_tiny.errors import TinyError, first_line, require_finite
from mlx_tiny.tools.processes import again

if TYPE_CHECKING:
    import mlx.core as mx
    import numpy as np
    from numpy.typing import NDArray


class _Kind(NamedTuple):
    fragment: str
    """Of MLX's message."""
    failed: str
    passes: bool
    """Whether a new process with shorter command buffers need not meet the same error."""


# The first kind whose fragment occurs in the message. Memory comes before the general case: work of the same size
# would need as much again, and smaller work (more micro-batches) would round otherwise, so it is the user's choice.
_KINDS = (
    _Kind("Insufficient Memory", "The GPU ran out of memory", False),
    _Kind("Resource limit", "MLX holds more buffers than the GPU has room for", True),
    _Kind("alloc", "Out of memory", False),
    _Kind("Impacting Interactivity", "macOS stopped the GPU work because it held up the display", True),
    _Kind("GPU Timeout", "macOS stopped the GPU work because it took too long", True),
    _Kind("Command buffer execution failed", "The GPU could not finish its work", True),
)


@dataclass(frozen=True)
class Continuation:
    """How a new process continues the run that an error of the device has ended."""

    run: Path
    count: int
    """Restarts since the run last got further, with this one."""
    total: int
    """Restarts of the run, with this one."""
    flags: tuple[str, ...] = ()
    """Of its command line, beside the run."""


class DeviceError(TinyError):
    """MLX's device failed.

    Args:
        error: as MLX raised it.
        kind: of the error.
        remedy: what the user can do.
    """

    def __init__(self, error: BaseException, kind: _Kind, remedy: str) -> None:
        super().__init__(f"{kind.failed} ({first_line(error)})", remedy=remedy)
        self.passes = kind.passes
        self.continuation: Continuation | None = None
        """Set where a command can start a process that goes on."""


def device_error(
    error: BaseException, lower: str = "Take less at once", again: str = "run it again"
) -> DeviceError | None:
    """What an exception of MLX tells the user, or None where it is no error of the device.

    Args:
        lower: how to need less memory.
        again: how to try once more.
    """
    text = "alloc" if isinstance(error, MemoryError) else str(error)
    kind = next((kind for kind in _KINDS if kind.fragment in text), None)
    if kind is None or not isinstance(error, (RuntimeError, MemoryError)):
        return None
    if kind.passes:
        return DeviceError(error, kind, f"Let the display sleep, close programs that use the GPU, and {again}")
    return DeviceError(error, kind, f"{lower}. Where other programs took the memory, close them and {again}")


@contextlib.contextmanager
def device_errors_explained(run: Path, batch_size: int, micro_batches: int) -> Iterator[None]:
    """Turn the errors of MLX's device inside the block into a `DeviceError` that says how to go on.

    Args:
        run: the folder of the run that is trained.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        retry = f"continue from the last checkpoint: {again('train', '--resume', str(run))}"
        explained = device_error(error, _lower(batch_size, micro_batches), retry)
        if explained is None:
            raise
        raise explained from error


def _lower(batch_size: int, micro_batches: int) -> str:
    more = next((n for n in range(micro_batches + 1, batch_size + 1) if batch_size % n == 0), None)
    first = f"cut the batch in more parts with --micro-batches {more}" if more else "shorten --context"
    return f"Start a run whose steps need less memory: {first}, or choose a smaller --preset"


def evaluated(arrays: Sequence[mx.array]) -> list[NDArray[np.float64]]:
    """The values of arrays.

    Numpy alone would hide the error of an array that cannot be computed, and read what is in the memory.

    Raises:
        RuntimeError: the work of the device failed.
        TinyError: a value is NaN or infinite.
    """
    import mlx.core as mx
    import numpy as np

    mx.eval(arrays)
    mx.synchronize()  # `eval` may return before MLX knows that the work of the GPU has failed
    values = [np.asarray(array, dtype=np.float64) for array in arrays]
    require_finite(all(np.isfinite(value).all() for value in values))
    return values
