"""Compiles the kernels of a training step on a CPU while the data is prepared.

On a CPU, MLX compiles each kernel by g++ when it first needs it, one after the other: on a new machine about fifty, a
third of a second each. It keeps them in a folder inside the system's temporary folder. Here two processes compile one
half of a step each, in folders of their own, and the finished files are moved to the folder where MLX looks for them.
Both processes run the program `training/precompile.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from mlx_tiny.config import RunConfig
from mlx_tiny.linux.lanes import decide_compilation, on_cpu
from mlx_tiny.records import to_plain
from mlx_tiny.tools.processes import Child

PARTS = ("gradients", "update")
# If MLX's folder has so many kernels, a step was compiled here before; a step of another model needs few new ones.
_WARM = 30
_KERNELS = "mlx/*/cpu"


class CompilingAhead:
    """The processes that compile for a run; call `wait` before the first step, and `close` in any case.

    There are no processes where nothing is to be compiled, or where MLX has its kernels from an earlier run.

    Args:
        config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self._children: list[tuple[Child, Path]] = []
        if config.train.backend != "mlx" or not on_cpu() or not decide_compilation(config.train.compile)[0]:
            return
        if len(list(Path(tempfile.gettempdir()).glob(f"{_KERNELS}/*.so"))) < _WARM:
            with contextlib.suppress(OSError):  # no room for folders or processes: the first step will compile
                for part in PARTS:
                    self._children.append(_start(part, config))

    @property
    def busy(self) -> bool:
        """Whether a process is still compiling."""
        return any(child.process.poll() is None for child, _ in self._children)

    def wait(self) -> None:
        """Wait until all kernels are in MLX's folder; after a failure, the first step compiles or raises the error."""
        for child, folder in self._children:
            if child.process.wait() == 0:
                _hand_over(folder)
        self.close()

    def close(self) -> None:
        """End the processes and remove their folders."""
        for child, folder in self._children:
            child.close()
            shutil.rmtree(folder, ignore_errors=True)
        self._children = []


def _start(part: str, config: RunConfig) -> tuple[Child, Path]:
    folder = Path(tempfile.mkdtemp(prefix="mlx_tiny-"))
    child = Child("mlx_tiny.training.precompile", part, answers=False, changes={"TMPDIR": str(folder)})
    child.send(to_plain(config))
    return child, folder


def _hand_over(folder: Path) -> None:
    """Move the kernels that one process compiled; a kernel that is already in MLX's folder is not replaced."""
    for library in folder.glob(f"{_KERNELS}/*.so"):
        target = Path(tempfile.gettempdir()) / library.relative_to(folder)
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.replace(library, target)
