"""Who is told of the progress of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from mlx_tiny.records import EvaluationRecord, StepRecord


class Listener(Protocol):
    """What shows the progress of a run: the command line, or a test."""

    def message(self, text: str) -> None: ...
    def wait(self, what: str, detail: Callable[[], str] = str) -> None: ...
    def step(self, record: StepRecord) -> None: ...
    def evaluation(self, record: EvaluationRecord) -> None: ...
    def sample(self, fraction: float, text: str) -> None: ...


class Amount:
    """How much of a work is done; calling it says so.

    Args:
        whole: in any unit.
    """

    def __init__(self, whole: int) -> None:
        self._whole, self._done = whole, 0

    def __call__(self) -> str:
        return f"{self._done / self._whole:.0%}"

    def add(self, count: int) -> None:
        """So much more is done."""
        self._done += count


class Unhurried:
    """A listener whose methods are called inside of `waiting`: after Ctrl-S, they wait for a reader."""

    def __init__(self, listener: Listener, waiting: Callable[[], contextlib.ContextDecorator]) -> None:
        self._listener, self._waiting = listener, waiting

    def __getattr__(self, name: str) -> Any:
        return self._waiting()(getattr(self._listener, name))
