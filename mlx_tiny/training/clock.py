"""The clock of a session, which does not count the time in which the process was stopped or the machine asleep."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

_BEAT_S = 0.25
_SHORTEST_GAP_S = 1.0
"""A busy machine keeps a process waiting for less."""
_MANY_STEPS = 10
# Sleep must count, so that it can be told. `time.monotonic` leaves it out on Linux and on a Mac; Linux has it in
# CLOCK_BOOTTIME, and macOS, which has no such clock, in CLOCK_MONOTONIC. None of these is ever set to another time.
_COUNTS_SLEEP = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _now() -> float:
    return time.clock_gettime(_COUNTS_SLEEP)


class Clock:
    """Seconds from some moment on, without gaps: times of many steps' length in which this process did nothing.

    Args:
        now: seconds from some moment on; sleep counts.
    """

    def __init__(self, now: Callable[[], float] = _now) -> None:
        self._now, self._lock = now, threading.Lock()
        self.step_s = 0.0
        """What a step takes at present; the shortest gap is longer than many of them."""
        self.gaps_s = 0.0
        """Duration of all gaps so far."""
        self._last: float | None = None
        """When the clock was last looked at, inside of `watched`."""

    def __call__(self) -> float:
        """The time in seconds."""
        with self._lock:
            now = self._now()
            if self._last is not None:
                still = now - self._last
                if still > max(_SHORTEST_GAP_S, _MANY_STEPS * self.step_s):
                    self.gaps_s += still - _BEAT_S
                self._last = now
            return now - self.gaps_s

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Notice gaps inside the block: a thread looks at the clock so often that only a gap can keep it from that."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(_BEAT_S):
                self()

        thread = threading.Thread(target=look, daemon=True)
        self._last = self._now()
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._last = None
