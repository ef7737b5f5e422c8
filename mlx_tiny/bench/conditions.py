"""Under which circumstances something was measured: machine, power, heat, load, versions, commit."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mlx_tiny.machine import Machine, describe, power_source

# OSThermalPressureLevel of macOS, as `notifyutil` gives it without special rights.
_PRESSURES = ("nominal", "moderate", "heavy", "trapping", "sleeping")
_ROOT = Path(__file__).resolve().parents[2]

NEEDED = ("system", "chip", "cores", "device", "blas", "power", "thermal", "load_average", "commit")
"""What is said of a machine, beside its versions, wherever figures of it are shown."""


def circumstances() -> dict[str, Any]:
    """What every record carries, as plain values ready for JSON; None where the system does not tell.

    Nothing in it names the computer, its user or a folder, so that a file of records can be given away.
    """
    here = _machine()
    return {
        "system": f"{here.system} {here.release}",
        "chip": here.chip,
        "cores": here.cores,
        "performance_cores": here.performance_cores,
        "memory_bytes": here.memory_bytes,
        "device": here.device,
        "blas": here.blas,
        "power": power_source(),
        "thermal": thermal_state(),
        "load_average": _load_average(),
        "python": here.python,
        "versions": {name: version for name, version in {**here.versions, "torch": torch_version()}.items() if version},
        "commit": commit(),
    }


@functools.cache
def _machine() -> Machine:
    return describe()


@functools.cache
def torch_version() -> str | None:
    """Version of PyTorch, which is not loaded for it; None where it is not installed."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def commit() -> str | None:
    """Commit of the checkout that the package lies in, with `+changes` where files differ; None without one."""
    if not (_ROOT / ".git").exists():
        return None
    named = _told("git", "-C", str(_ROOT), "rev-parse", "--short=12", "HEAD").strip()
    changed = _told("git", "-C", str(_ROOT), "status", "--porcelain", "--", ".", ":!benchmarks/results")
    return (f"{named}+changes" if changed else named) or None


def thermal_state() -> str | None:
    """`nominal` or how far the machine holds itself back for heat; on Linux the highest temperature."""
    if sys.platform == "darwin":
        return thermal_state_of_mac(
            _told("notifyutil", "-g", "com.apple.system.thermalpressurelevel"), _told("pmset", "-g", "therm")
        )
    return thermal_state_of_linux(Path("/sys/class/thermal"))


def thermal_state_of_mac(pressure: str, limits: str) -> str | None:
    """The state from what `notifyutil` and `pmset -g therm` print."""
    level = re.search(r"thermalpressurelevel (\d+)", pressure)
    limit = re.search(r"CPU_Speed_Limit\s*=\s*(\d+)", limits)
    if level and int(level[1]) < len(_PRESSURES):
        state = _PRESSURES[int(level[1])]
    elif limit or "No thermal warning level" in limits:
        state = "nominal"
    else:
        return None
    return f"{state}, CPU held to {limit[1]} %" if limit and int(limit[1]) < 100 else state


def thermal_state_of_linux(folder: Path) -> str | None:
    """The highest temperature of the thermal zones."""
    found = []
    for zone in folder.glob("thermal_zone*/temp"):
        try:
            found.append(int(zone.read_text()))
        except (OSError, ValueError):  # zones may be switched off
            continue
    return f"{max(found) / 1000:.0f} °C" if found else None


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _told(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
