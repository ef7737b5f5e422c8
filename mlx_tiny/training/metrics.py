"""The file `metrics.jsonl` of a run: one line per step, evaluation or sample."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_write, explained, require_ordinary
from mlx_tiny.records import FinalRecord, MetricsRecord, StepRecord, metrics_from_json, to_json

_MOST_LINE_BYTES = 1 << 20
"""Ours have less than 1 kB, and 20 bytes more for each text of a mixture."""


class MetricsFile:
    """The lines at `path`, which need not exist yet. A last line that a crash cut short is passed over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = path.with_name(f"{path.name}.damaged")
        """Where `rewind` keeps damaged lines."""

    def append(self, record: MetricsRecord) -> None:
        """Add a line."""
        with explained(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(to_json(record) + "\n")

    def read(self) -> list[MetricsRecord]:
        """All lines but damaged ones."""
        return [entry for entry in self._entries() if not isinstance(entry, bytes)]

    def rewind(self, step: int, tell: Callable[[str], None] = lambda _: None) -> list[float]:
        """Drop the lines that a run resumed at `step` will write again: those of later steps, and that of its end.

        Args:
            tell: called with a line where there are damaged lines, which are kept in a file of their own.

        Returns:
            The losses of the steps that are left.

        Raises:
            TinyError: no ordinary file, disk full, no permission.
        """
        damaged, losses = 0, []
        with atomic_write(self.path, "w") as file:
            for entry in self._entries():
                if isinstance(entry, bytes):
                    damaged += 1
                    self._keep_aside(entry)
                elif entry.step <= step and not isinstance(entry, FinalRecord):
                    file.write(to_json(entry) + "\n")
                    losses += [entry.loss] if isinstance(entry, StepRecord) else []
        if damaged:
            lines = "A line" if damaged == 1 else f"{damaged} lines"
            tell(f"warning: {lines} of {self.path} cannot be read: kept in {self.damaged.name}")
        return losses

    def _entries(self) -> Iterator[MetricsRecord | bytes]:
        """The record of each line, or its bytes where it is damaged."""
        if not self.path.exists():
            return
        require_ordinary(self.path, "metrics file")
        with explained(self.path), open(self.path, "rb") as file:
            while line := file.readline(_MOST_LINE_BYTES):
                try:
                    yield metrics_from_json(line, "line of metrics")
                except (TinyError, ValueError):
                    if line.strip() and (line.endswith(b"\n") or len(line) == _MOST_LINE_BYTES):
                        yield line

    def _keep_aside(self, line: bytes) -> None:
        # Not where a link leads: the folder may be a stranger's, and the link may lead to any file of the user.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        with explained(self.damaged), open(os.open(self.damaged, flags, 0o666), "ab") as file:
            file.write(line)
