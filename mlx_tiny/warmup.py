"""The kernels of a CPU's training step, compiled while the data is prepared.

MLX compiles each kernel by g++ when it first meets it, one after the other: some fifty of a third of a second each, on
a machine where it never did. It keeps them in a folder below the system's temporary one. Here two processes compile one
half of a step each, in folders of their own; whole files are then moved to where MLX looks. Started as a program, this
module is one of the two.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlx_tiny.config import RunConfig, from_dict, to_dict
from mlx_tiny.ops.runtime import on_cpu
from mlx_tiny.step import decide_compilation

PARTS = ("gradients", "update")
# With so many kernels in MLX's folder, a step was compiled here before; another model needs few new ones.
_WARM = 30
_KERNELS = "mlx/*/cpu"
_PACKAGE = Path(__file__).resolve().parents[1]


class CompilingAhead:
    """The processes that compile for a run; `wait` for them before the first step, and `close` in any case.

    Where there is nothing to compile, or MLX has its kernels from an earlier run, there are none.

    Args:
        config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self._processes: list[tuple[subprocess.Popen[str], Path]] = []
        if config.train.backend != "mlx" or not on_cpu() or not decide_compilation(config.train.compile)[0]:
            return
        if len(list(Path(tempfile.gettempdir()).glob(f"{_KERNELS}/*.so"))) < _WARM:
            with contextlib.suppress(OSError):  # no room for folders or processes: the first step will tell
                for part in PARTS:
                    self._processes.append(_start(part, config))

    @property
    def busy(self) -> bool:
        """Whether waiting would take time."""
        return any(process.poll() is None for process, _ in self._processes)

    def wait(self) -> None:
        """Until all kernels are in MLX's folder; what failed is left for the first step to compile, or to explain."""
        for process, folder in self._processes:
            if process.wait() == 0:
                _hand_over(folder)
        self.close()

    def close(self) -> None:
        """End the processes and remove their folders."""
        for process, folder in self._processes:
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)
        self._processes = []


def _start(part: str, config: RunConfig) -> tuple[subprocess.Popen[str], Path]:
    folder = Path(tempfile.mkdtemp(prefix="mlx_tiny-"))
    path = os.pathsep.join(filter(None, [str(_PACKAGE), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "mlx_tiny.warmup", part],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        json.dump(to_dict(config), process.stdin)
    return process, folder


def _hand_over(folder: Path) -> None:
    """Move what one process compiled; a kernel that MLX has meanwhile stays as it is."""
    for library in folder.glob(f"{_KERNELS}/*.so"):
        target = Path(tempfile.gettempdir()) / library.relative_to(folder)
        with contextlib.suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.replace(library, target)


def _compile(part: str, values: dict[str, Any]) -> None:
    """Evaluate one half of a step on zeros; with the second one, what writes samples."""
    import mlx.core as mx
    import numpy as np

    from mlx_tiny.generate import Reader
    from mlx_tiny.step import TrainingStep

    config = from_dict(RunConfig, values)
    step = TrainingStep(config, compiled=True)
    state = step.initial_state()
    if part == "gradients":
        batch = np.zeros((config.train.batch_size, config.model.context + 1), dtype=np.int32)
        mx.eval(step.loss_and_gradients(state.parameters, batch))
    else:
        scalars = mx.array(0.0), mx.array(0.0)
        mx.eval(step.update(state.parameters, dict(state.parameters), state.optimizer, *scalars))
        # The samples along the way are on the run's clock.
        reader = Reader(state.parameters, config.model)
        reader.read([0])
        mx.eval(reader.read_next(0) if config.model.context > 1 else ())


if __name__ == "__main__":
    _compile(sys.argv[1], json.load(sys.stdin))
