"""The kernels of a CPU's training step, compiled while the data is prepared.

MLX compiles each kernel by g++ when it first meets it, one after the other: some fifty of a third of a second each, on
a machine where it never did. It keeps them in a folder below the system's temporary one. Here two processes compile one
half of a step each, in folders of their own; whole files are then moved to where MLX looks. Each is the program
`training/rehearsal.py`.
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
# With so many kernels in MLX's folder, a step was compiled here before; another model needs few new ones.
_WARM = 30
_KERNELS = "mlx/*/cpu"


class CompilingAhead:
    """The processes that compile for a run; `wait` for them before the first step, and `close` in any case.

    Where there is nothing to compile, or MLX has its kernels from an earlier run, there are none.

    Args:
        config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self._children: list[tuple[Child, Path]] = []
        if config.train.backend != "mlx" or not on_cpu() or not decide_compilation(config.train.compile)[0]:
            return
        if len(list(Path(tempfile.gettempdir()).glob(f"{_KERNELS}/*.so"))) < _WARM:
            with contextlib.suppress(OSError):  # no room for folders or processes: the first step will tell
                for part in PARTS:
                    self._children.append(_start(part, config))

    @property
    def busy(self) -> bool:
        """Whether waiting would take time."""
        return any(child.process.poll() is None for child, _ in self._children)

    def wait(self) -> None:
        """Until all kernels are in MLX's folder; what failed is left for the first step to compile, or to explain."""
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
    child = Child("mlx_tiny.training.rehearsal", part, answers=False, changes={"TMPDIR": str(folder)})
    child.send(to_plain(config))
    return child, folder


def _hand_over(folder: Path) -> None:
    """Move what one process compiled; a kernel that MLX has meanwhile stays as it is."""
    for library in folder.glob(f"{_KERNELS}/*.so"):
        target = Path(tempfile.gettempdir()) / library.relative_to(folder)
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.replace(library, target)
