"""Compiles the kernels of a training step on a CPU while the data is prepared.

On a CPU, MLX compiles each kernel by g++ when it first needs it, one after the other: on a new machine about fifty, a
third of a second each. Here two processes compile one half of a step each, and keep what they have compiled (see
`kernels.py`). Both run the program `training/precompile.py`, which compiles the header of all kernels first.
"""

from __future__ import annotations

import contextlib

from mlx_tiny import __version__
from mlx_tiny.config import RunConfig
from mlx_tiny.linux import kernels, native
from mlx_tiny.linux.lanes import decide_compilation, lanes, on_cpu
from mlx_tiny.records import to_plain
from mlx_tiny.tools.processes import Child

PARTS = ("gradients", "update")


def key(config: RunConfig, part: str) -> str:
    """What the kernels of a part of the step depend on, as text."""
    train = config.train
    shapes = (
        train.batch_size,
        train.micro_batches,
        train.dtype,
        train.implementation,
        len(lanes()),
        native.why_not() is None,
    )
    return repr((__version__, part, config.model, config.optimizer, *shapes))


class CompilingAhead:
    """The processes that compile for a run; call `wait` before the first step, and `close` in any case.

    There are no processes where nothing is to be compiled, or where MLX has all kernels of such a step from an earlier
    run. Another model or optimizer, or another length of sequences, has up to a quarter of kernels of its own.

    Args:
        config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self._children: list[Child] = []
        if config.train.backend != "mlx" or not on_cpu() or not decide_compilation(config.train.compile)[0]:
            return
        with contextlib.suppress(OSError):  # no room for processes: the first step will compile
            missing = [part for part in PARTS if not kernels.has_needed(key(config, part))]
            if kernels.why_not_kept() is not None:
                return
            for part in missing:
                child = Child("mlx_tiny.training.precompile", part, answers=False)
                self._children.append(child)
                child.send(to_plain(config))

    @property
    def compiled(self) -> int:
        """How many kernels the processes have compiled so far."""
        return sum(kernels.count_of(child.process.pid) for child in self._children)

    def wait(self) -> None:
        """Wait until MLX has all kernels; after a failure, the first step compiles or raises the error."""
        for child in self._children:
            child.process.wait()
        if self._children:
            kernels.link_kept()
        self.close()

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            child.close()
        self._children = []
