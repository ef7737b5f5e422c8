"""How much of the processor other programs take from this one."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mlx_tiny.machine.hardware import usable_cores

# A share of the usable cores. Below it, and on a machine where nothing else runs, measurements are as good as they get.
_BUSY_SHARE = 0.1
_MOST_LOOKS = 3
_SHORTEST_LOOK_S = 0.1  # the counters have steps of 10 ms
_STATISTICS = Path("/proc/stat")
# From macOS's mach/host_info.h and mach/machine.h; the counters have 32 bits.
_HOST_CPU_LOAD_INFO, _CPU_STATES, _COUNTERS_END = 3, 4, 1 << 32


class OtherPrograms:
    """The processor time that other programs have taken since this was made."""

    def __init__(self) -> None:
        self._before = time.perf_counter(), _busy_ticks(), _own_s()

    def cores(self) -> float | None:
        """The mean number of cores that others took of those that this process may use; None where it is not known.

        What they used of cores that this process may not use does not count, nor do its own children that have ended.
        """
        (began, ticks_before, own_before), ticks = self._before, _busy_ticks()
        wall_s = time.perf_counter() - began
        if ticks is None or ticks_before is None or wall_s < _SHORTEST_LOOK_S:
            return None
        all_s = (ticks - ticks_before) % _COUNTERS_END / os.sysconf("SC_CLK_TCK")
        spare = len(_visible_cores()) - usable_cores()
        others = (all_s - (_own_s() - own_before)) / wall_s - spare
        return round(min(float(usable_cores()), max(0.0, others)), 2)


def is_busy(cores: float | None) -> bool:
    """Whether other programs that take so many cores disturb measurements."""
    return cores is not None and cores > _BUSY_SHARE * usable_cores()


def best_look(measure: Callable[[], float]) -> tuple[float, float | None]:
    """The highest of several measurements of a rate, because other programs only lower it; one where there are none.

    Returns:
        The rate, and the cores that other programs took at the first look.
    """
    others = OtherPrograms()
    best = measure()
    taken = others.cores()
    if is_busy(taken):
        best = max(best, *(measure() for _ in range(_MOST_LOOKS - 1)))
    return best, taken


def _visible_cores() -> set[int]:
    """The cores whose time `_busy_ticks` counts."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def _own_s() -> float:
    """Processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _busy_ticks() -> int | None:
    """Processor time of all programs, in ticks of the system's clock; None where the system does not tell."""
    try:
        return _ticks_of_mac() if sys.platform == "darwin" else _ticks_of_linux(_STATISTICS.read_text())
    except (OSError, AttributeError, ValueError):
        return None


def _ticks_of_linux(statistics: str) -> int:
    """The ticks in the lines `cpuN` of /proc/stat: all but idle and iowait; `steal` is the time of other machines."""
    total, cores = 0, {f"cpu{core}" for core in _visible_cores()}
    for name, *counters in (line.split() for line in statistics.splitlines() if line.strip()):
        if name in cores:
            user, nice, system, _idle, _iowait, *interrupts_and_steal = map(int, counters[:8])
            total += user + nice + system + sum(interrupts_and_steal)
    return total


def _ticks_of_mac() -> int | None:
    library, count, ticks = ctypes.CDLL(None), ctypes.c_uint32(_CPU_STATES), (ctypes.c_uint32 * _CPU_STATES)()
    if library.host_statistics(library.mach_host_self(), _HOST_CPU_LOAD_INFO, ticks, ctypes.byref(count)) != 0:
        return None
    user, system, _idle, nice = ticks
    return int(user + system + nice)
