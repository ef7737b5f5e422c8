"""Who is told of the progress of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Protocol

from mlx_tiny.records import EvaluationRecord, StepRecord


class Listener(Protocol):
    """What shows the progress of a run: the command line, or a test."""

    def message(self, text: str) -> None: ...
    def wait(self, what: str) -> None: ...
    def step(self, record: StepRecord) -> None: ...
    def evaluation(self, record: EvaluationRecord) -> None: ...
    def sample(self, fraction: float, text: str) -> None: ...


class Unhurried:
    """A listener whose methods are called inside of `waiting`: after Ctrl-S, they wait for a reader."""

    def __init__(self, listener: Listener, waiting: Callable[[], contextlib.ContextDecorator]) -> None:
        self._listener, self._waiting = listener, waiting

    def __getattr__(self, name: str) -> Any:
        return self._waiting()(getattr(self._listener, name))
