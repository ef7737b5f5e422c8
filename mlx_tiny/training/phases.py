"""Where the seconds of a session went."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from mlx_tiny.training.clock import Clock
from mlx_tiny.units import format_seconds

COMPILING = "compile and warm up"
"""The name of a phase, a part of which is before the session of a trainer."""
_TOLD_GAP_S = 1.0


class Phases:
    """Seconds by phase, the gaps of the clock included.

    Args:
        clock: of the session.
        seconds: those of earlier sessions.
        tell_gap: called with words for a gap that is long enough to be told.
    """

    def __init__(self, clock: Clock, seconds: dict[str, float], tell_gap: Callable[[str], None]) -> None:
        self._clock, self._tell_gap = clock, tell_gap
        self.seconds = dict(seconds)
        self._noted_gaps_s, self._untold_gaps_s = 0.0, 0.0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Inside the block, time belongs to this phase; afterwards, gaps are noted."""
        started = self._clock()
        try:
            yield
        finally:
            self.add(name, self._clock() - started)
        if (gap_s := self._clock.gaps_s - self._noted_gaps_s) > 0:
            self._note_gap(gap_s)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a phase."""
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def _note_gap(self, gap_s: float) -> None:
        self._noted_gaps_s += gap_s
        self._untold_gaps_s += gap_s
        self.add("gaps", gap_s)
        if self._untold_gaps_s < _TOLD_GAP_S:
            return
        told = "the process was stopped, the machine asleep or this output not read for"
        self._tell_gap(f"{told} {format_seconds(self._untold_gaps_s)}")
        self._untold_gaps_s = self._noted_gaps_s - self._clock.gaps_s  # that of this very line is not told
