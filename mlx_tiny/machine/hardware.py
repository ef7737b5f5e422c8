"""Hardware of the machine: its chip, and the cores and memory that this process may use."""

from __future__ import annotations

import functools
import os
import platform
import re
import sys
from pathlib import Path

from mlx_tiny.tools.processes import output


def chip() -> str:
    """Name of the processor, such as "Apple M3 Max"."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    return _chip_of_linux(_text("/proc/cpuinfo"), _text("/proc/device-tree/model"), platform.machine())


def _chip_of_linux(processors: str, board: str, architecture: str) -> str:
    """Name of the processor; kernels on ARM do not give it, but often that of the board."""
    match = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", processors, re.MULTILINE)
    return (match[1] if match else board.strip("\0 \n")) or architecture


def instruction_sets() -> str:
    """The instruction sets of the processor, as Linux lists them; its name on other systems."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.MULTILINE)
    return match[1] if match else chip()


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and its container's quota rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # "200000 100000" means microseconds of work and period; version 1 of control groups has a file for each.
    limits = [text.split() for text in _control_group_files("cpu", "cpu.max")]
    old = (_control_group_files("cpu", f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    for quota, period in [*limits, *zip(*old, strict=False)]:
        if quota.isdigit() and period.isdigit():
            cores = min(cores, max(1, -(-int(quota) // int(period))))
    return cores


@functools.cache
def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or its container's limit where that is lower; read once."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory.limit_in_bytes"):
        limits = _control_group_files("memory", name)
        total = min([total, *(int(text) for text in limits if text.isdigit() and int(text) > 0)])
    return total


def core_kinds() -> tuple[int | None, int | None]:
    """Performance and efficiency cores of a Mac; None where the system does not tell."""
    counts = [_sysctl(f"hw.perflevel{level}.physicalcpu") for level in (0, 1)]
    performance, efficiency = (int(text) if text.isdigit() else None for text in counts)
    return performance, efficiency


def _control_group_files(controller: str, name: str) -> list[str]:
    """Contents of the files `name` of this process's control groups and their parents, of version 1 and 2."""
    found = {}
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = Path("/sys/fs/cgroup") / (controllers and controller)
        group = Path(os.path.normpath(path.lstrip("/")))
        for folder in (group, *group.parents):
            if text := _text(root / folder / name):
                found[root / folder] = text
    return list(found.values())


def _sysctl(name: str) -> str:
    return output("sysctl", "-n", name).strip() if sys.platform == "darwin" else ""


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
