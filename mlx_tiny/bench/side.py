"""One side of `bench step`: a process of its own, asked for steps over a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_tiny.config import RunConfig, to_dict
from mlx_tiny.errors import TinyError

_PACKAGE = Path(__file__).resolve().parents[2]
# torch.compile takes minutes for large models; what has said nothing for longer will not.
_PATIENCE_S = 600.0
# glibc's malloc gives large blocks back after each use; what MLX keeps for itself, torch is given too.
_KEEP_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
_KEEPING = ("torch tuned", "torch compiled")


@dataclass
class Side:
    """A process that takes steps; `start` makes one."""

    process: subprocess.Popen[str]
    log: Path
    """Where what it prints goes."""
    description: str = ""
    peak_memory_bytes: int = 0

    @staticmethod
    def start(
        name: str, config: RunConfig, weights: Path, log: Path, *, products: str = "float32", cores: int | None = None
    ) -> Side:
        """Start a side; `prepared` waits for it.

        Args:
            name: out of `worker.SIDES`.
            weights: a file of arrays.
            products: precision of MLX's float32 products, as `Peaks` has it.
            cores: how many to keep to; by default all.
        """
        paths = filter(None, [str(_PACKAGE), os.environ.get("PYTHONPATH")])
        with log.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "mlx_tiny.bench.worker"],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **(_KEEP_BLOCKS if name in _KEEPING else {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        side = Side(process, log)
        request = {"side": name, "config": to_dict(config), "weights": str(weights)}
        side._send({**request, "products": products, "cores": cores})
        return side

    def prepared(self) -> None:
        """Wait until the side can take steps.

        Raises:
            TinyError: it cannot.
        """
        self.description = self._answer()["description"]

    def take(self, steps: int) -> tuple[float, list[float]]:
        """Seconds and losses of so many steps.

        Raises:
            TinyError: the side failed.
        """
        self._send(steps)
        reply = self._answer()
        self.peak_memory_bytes = reply["peak_memory_bytes"]
        return reply["seconds"], reply["losses"]

    def close(self) -> None:
        """End the process."""
        for stream in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _send(self, value: object) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer will say what ended it
            print(json.dumps(value), file=self.process.stdin, flush=True)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        # An answer is one line for one request, so that nothing of it can wait in a buffer already.
        if not select.select([self.process.stdout], [], [], _PATIENCE_S)[0]:
            self.process.kill()
            raise TinyError(f"it gave no answer in {_PATIENCE_S:.0f} s{self._last_words()}")
        line = self.process.stdout.readline()
        if not line:
            raise TinyError(f"it ended with exit code {self.process.wait()}{self._last_words()}")
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise TinyError(reply["failed"])
        return reply

    def _last_words(self) -> str:
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"; its last words were: {lines[-1]}" if lines else ""
