"""The clock of a session, which does not count the time in which the process was stopped, or waited to be read."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from mlx_tiny.tools.laps import now

_BEAT_S = 0.05
# Far below any Ctrl-Z, so that no row of stops is charged in silence; and twice the longest wait that was measured with
# seven busy programs per core. A slow step is no gap: the thread goes on looking, or the process computes.
_SHORTEST_GAP_S = 0.25


class Clock:
    """Seconds from some moment on, without gaps: times in which this process did nothing, or waited for a reader.

    Args:
        now: seconds from some moment on; sleep counts.
        worked: seconds in which this process computed, on all cores together.
    """

    def __init__(self, now: Callable[[], float] = now, worked: Callable[[], float] = time.process_time) -> None:
        self._now, self._worked, self._lock = now, worked, threading.Lock()
        self.gaps_s = 0.0
        """Duration of all gaps so far."""
        self._last: tuple[float, float] | None = None
        """Both times when the clock was last looked at, inside of `watched`."""

    def __call__(self) -> float:
        """The time in seconds."""
        with self._lock:
            now, worked = self._now(), self._worked()
            if self._last is not None:
                then, worked_then = self._last
                self._leave_out(now - then - max(_BEAT_S, worked - worked_then))
                self._last = now, worked
            return now - self.gaps_s

    def _leave_out(self, seconds: float) -> None:
        if seconds > _SHORTEST_GAP_S:
            self.gaps_s += seconds

    @contextlib.contextmanager
    def waiting(self, at_work_s: float) -> Iterator[None]:
        """Inside the block, inside of `watched`, time is a gap, but for the seconds that work goes on meanwhile."""
        began = self()
        try:
            yield
        finally:
            waited_s = self() - began
            with self._lock:
                if self._last is not None:
                    self._leave_out(waited_s - at_work_s)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Notice gaps inside the block: a thread looks at the clock so often that only a gap can keep it from that."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(_BEAT_S):
                self()

        thread = threading.Thread(target=look, daemon=True)
        self._last = self._now(), self._worked()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._last = None
