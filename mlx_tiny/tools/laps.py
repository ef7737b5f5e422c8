"""Where the wall time of a command goes: every moment since its start belongs to the lap that ends next."""

from __future__ import annotations

import time
from collections import defaultdict

# Sleep must count, so that it can be told. `time.monotonic` leaves it out on Linux and on a Mac; Linux has it in
# CLOCK_BOOTTIME, and macOS, which has no such clock, in CLOCK_MONOTONIC. None of these is ever set to another time.
_COUNTS_SLEEP = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def now() -> float:
    """Seconds from some moment on; sleep counts."""
    return time.clock_gettime(_COUNTS_SLEEP)


class Laps:
    """Seconds by lap, which add up to the time since the start."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget all laps, and begin the first one."""
        self.started = self._last = now()
        self.started_at = time.time()
        """As the wall clock says it."""
        self.seconds = defaultdict[str, float](float)

    @property
    def elapsed_s(self) -> float:
        """From the start to the end of the last lap."""
        return self._last - self.started

    def end(self, name: str) -> float:
        """The time since the last lap belongs to `name`; returns it."""
        moment = now()
        lap, self._last = moment - self._last, moment
        self.seconds[name] += lap
        return lap


COMMAND = Laps()
"""Those of the command that this process runs; it begins when Python has started and imports this."""
