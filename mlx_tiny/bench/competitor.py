"""A competitor of `bench step`: a process of its own, which takes steps on request."""

from __future__ import annotations

from pathlib import Path

from mlx_tiny.config import RunConfig
from mlx_tiny.records import to_plain
from mlx_tiny.tools.processes import Child

# torch.compile takes minutes for large models; after this time no answer is expected any more.
_PATIENCE_S = 600.0
# By default glibc's malloc returns large blocks to the system after each use. MLX keeps them, so PyTorch may too.
_KEEP_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}
_KEEPING = ("torch tuned", "torch compiled")


class Competitor:
    """A process that takes steps; as a context, it ends with the block.

    Args:
        name: in `worker.COMPETITORS`.
        weights: a file of arrays.
        log: file for its output.
        products: precision of MLX's float32 products, as in `Peaks`.
        cores: number of cores that it may use; by default all.
    """

    def __init__(
        self,
        name: str,
        config: RunConfig,
        weights: Path,
        log: Path,
        *,
        products: str = "float32",
        cores: int | None = None,
    ) -> None:
        self.description, self.peak_memory_bytes = "", 0
        self._child = Child("mlx_tiny.bench.worker", log=log, changes=_KEEP_BLOCKS if name in _KEEPING else None)
        request = {"competitor": name, "config": to_plain(config), "weights": str(weights)}
        self._child.send({**request, "products": products, "cores": cores})

    def prepared(self) -> None:
        """Wait until it can take steps.

        Raises:
            TinyError: it cannot.
        """
        self.description = self._child.answer(_PATIENCE_S)["description"]

    def take(self, steps: int) -> tuple[float, list[float]]:
        """Seconds and losses of so many steps.

        Raises:
            TinyError: it failed.
        """
        self._child.send(steps)
        reply = self._child.answer(_PATIENCE_S)
        self.peak_memory_bytes = reply["peak_memory_bytes"]
        return reply["seconds"], reply["losses"]

    def __enter__(self) -> Competitor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the process: at once where the block ended by an exception, such as an interruption."""
        self._child.close(patience_s=5 if kind is None else 0)
