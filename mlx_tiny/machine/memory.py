"""What memory this process may use, and what is free now."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlx_tiny.errors import TinyError
from mlx_tiny.machine.hardware import memory_bytes
from mlx_tiny.tools.processes import output, peak_memory_bytes
from mlx_tiny.units import format_bytes

_STATUS, _MEMORY = Path("/proc/self/status"), Path("/proc/meminfo")
_ARENAS_BYTES = 192 << 20
"""Address space that glibc reserves for the heaps of further threads: 64 MB each."""
_SURE = 1.15
"""Where memory ends in a crash instead of an error, the estimate has to fit with the error that it may have."""
_UNTIL_LATER_BYTES = 40 << 20
"""Address space that this process reserves while it prepares its data, before it looks once more: up to 33 MB."""
# Limits of address space: their name, what counts, how the shell calls them, and the least in which MLX and numpy can
# be loaded. OpenBLAS ends a process below that by SIGINT, and others by a segmentation fault (measured with one core).
_LIMITS = (("RLIMIT_AS", "VmSize", "ulimit -v", 400 << 20), ("RLIMIT_DATA", "VmData", "ulimit -d", 200 << 20))
# Of the memory, by what nobody has asked for: less than 1 GB of 8. On a machine with less than 5 GB, half of one.
_LITTLE_SHARE, _LITTLE_BYTES = 9, 1 << 29
_FREE_ON_A_MAC = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")


@dataclass(frozen=True)
class Limit:
    """The most bytes that this process may have in memory, and what sets the limit."""

    bytes: int
    source: str


def limit() -> Limit:
    """The lowest of all limits: the machine or container, and what `ulimit` allows."""
    return min([Limit(memory_bytes(), "the memory of this machine or container"), *_limits_of_process()], key=_bytes)


def require(what: str, needed_bytes: int, remedy: Callable[[int], str]) -> None:
    """Refuse what does not fit.

    Args:
        what: what is to be done, for the error.
        needed_bytes: how much it takes.
        remedy: what to do instead where at most so many bytes fit; they are fewer than fit now.

    Raises:
        TinyError: it does not fit.
    """
    most = limit()
    if needed_bytes > most.bytes:
        raise TinyError(
            f"{what} does not fit in the memory that this process may use",
            expected=f"at most {format_bytes(most.bytes)} ({most.source})",
            got=f"about {format_bytes(needed_bytes)}",
            remedy=remedy(most.bytes - _UNTIL_LATER_BYTES),
        )


def require_libraries() -> None:
    """Refuse a limit of address space in which no command can run, before MLX and numpy are imported.

    Raises:
        TinyError: there is one.
    """
    import resource

    for name, _, source, least in _LIMITS:
        most = resource.getrlimit(getattr(resource, name))[0]
        if most != resource.RLIM_INFINITY and most < least:
            raise TinyError(
                "MLX and numpy do not fit in the memory that this process may use",
                expected=f"at least {format_bytes(least)}",
                got=f"{format_bytes(most)} ({source})",
                remedy=f"Raise the limit ({source})",
            )


def room_bytes() -> int:
    """What this process may have now: the lowest limit, or less where what is free and what it has already are less."""
    free, most = free_bytes(), limit().bytes
    return most if free is None else min(most, free + peak_memory_bytes())


def little_bytes() -> int:
    """What a program may take that nobody has told how much: it leaves the machine to those who work on it."""
    return min(room_bytes(), max(limit().bytes // _LITTLE_SHARE, _LITTLE_BYTES))


def _bytes(each: Limit) -> int:
    return each.bytes


def _limits_of_process() -> list[Limit]:
    """What `ulimit -v` and `ulimit -d` allow; they count address space, of which a part is never used."""
    import resource

    found = []
    status = _read(_STATUS)
    resident = _kilobytes("VmRSS", status) or 0
    for name, size, source, _ in _LIMITS:
        most = resource.getrlimit(getattr(resource, name))[0]
        if most != resource.RLIM_INFINITY:
            unused = max(0, (_kilobytes(size, status) or 0) - resident) + _ARENAS_BYTES
            found.append(
                Limit(max(0, int((most - unused) / _SURE)), f"{source}, less address space that is never used")
            )
    return found


def free_bytes() -> int | None:
    """Memory that no program uses now, or that the system can take back at once; None where it does not tell."""
    if sys.platform == "darwin":
        return free_bytes_of_mac(output("vm_stat"))
    return _kilobytes("MemAvailable", _read(_MEMORY))


def free_bytes_of_mac(text: str) -> int | None:
    """The same from the output of `vm_stat`."""
    page = re.search(r"page size of (\d+) bytes", text)
    pages = [re.search(rf"^{name}:\s+(\d+)\.", text, re.MULTILINE) for name in _FREE_ON_A_MAC]
    return int(page[1]) * sum(int(found[1]) for found in pages if found) if page and any(pages) else None


def _kilobytes(name: str, text: str) -> int | None:
    found = re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)
    return 1024 * int(found[1]) if found else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
