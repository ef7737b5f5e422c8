"""State of the machine at the moment: power, heat and load; and a way to keep a Mac awake."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlx_tiny.machine.hardware import usable_cores
from mlx_tiny.machine.load import is_busy
from mlx_tiny.tools.processes import output

# OSThermalPressureLevel of macOS, as `notifyutil` gives it without special rights.
_PRESSURES = ("nominal", "moderate", "heavy", "trapping", "sleeping")


@dataclass(frozen=True)
class State:
    """What may change between two measurements; what the system does not tell is None."""

    power: str | None
    """`mains` or `battery` with its charge, followed by `low power mode` where that is on."""
    thermal: str | None
    """On a Mac `nominal`, or how much it throttles because of heat; on Linux the highest temperature."""
    load_average: float | None
    """Mean number of processes that needed a core in the last minute."""
    lid: str | None = None
    """`open` or `closed`; None where there is none."""
    other_cores: float | None = None
    """Cores that other programs used of those that this process may use; None where it was not looked at."""

    def disturbances(self, *, on_cpu: bool) -> list[str]:
        """What makes the machine slower than it can be, in words.

        Args:
            on_cpu: whether it computes on the CPU, so that other programs' use of it counts.
        """
        found = []
        if self.power not in (None, "mains"):
            found.append(f"power comes from {self.power}")
        if self.thermal is not None and self.thermal.split(",")[0] in _PRESSURES[1:]:
            found.append(f"thermal pressure is {self.thermal}")
        if on_cpu and is_busy(self.other_cores):
            found.append(f"other programs use {self.other_cores:.1f} of {usable_cores()} cores")
        return found


def state() -> State:
    """The state of this machine now."""
    if sys.platform == "darwin":
        power = power_of_mac(output("pmset", "-g", "batt"), output("pmset", "-g"))
        pressure = output("notifyutil", "-g", "com.apple.system.thermalpressurelevel")
        thermal = thermal_state_of_mac(pressure, output("pmset", "-g", "therm"))
        lid = lid_of_mac(output("ioreg", "-r", "-k", "AppleClamshellState", "-d", "1"))
    else:
        power = power_of_linux(Path("/sys/class/power_supply"))
        thermal = thermal_state_of_linux(Path("/sys/class/thermal"))
        lid = lid_of_linux(Path("/proc/acpi/button/lid"))
    return State(power, thermal, _load_average(), lid)


@contextlib.contextmanager
def keep_awake() -> Iterator[None]:
    """Keep a Mac awake inside the block; on other systems nothing happens.

    The display may sleep, because macOS stops long work of the GPU while it is on.
    """
    helper = None
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):
            # With -w it ends with this process, even if that is killed.
            command = ["caffeinate", "-ims", "-w", str(os.getpid())]
            helper = subprocess.Popen(command, start_new_session=True)  # so that Ctrl-C does not end it
    try:
        yield
    finally:
        if helper is not None:
            helper.terminate()
            helper.wait()


def power_of_mac(battery: str, settings: str) -> str | None:
    source = re.search(r"drawing from '(AC|Battery|UPS)", battery)
    if source is None:
        return None
    charge = re.search(r"\b(\d+)%", battery)
    name = "mains" if source[1] == "AC" else "battery" + (f" at {charge[1]} %" if charge else "")
    return f"{name}, low power mode" if re.search(r"^\s*lowpowermode\s+1", settings, re.MULTILINE) else name


def power_of_linux(folder: Path) -> str | None:
    supplies = sorted(folder.iterdir()) if folder.is_dir() else []
    if any(_word(supply / "online") == "1" for supply in supplies if _word(supply / "type") == "Mains"):
        return "mains"
    batteries = [supply for supply in supplies if _word(supply / "type") == "Battery"]
    batteries = [supply for supply in batteries if _word(supply / "scope") != "Device"]  # mice and keyboards
    for supply in batteries:
        if _word(supply / "status") == "Discharging":
            charge = _word(supply / "capacity")
            return "battery" + (f" at {charge} %" if charge else "")
    return "mains" if batteries else None


def thermal_state_of_mac(pressure: str, limits: str) -> str | None:
    """The thermal state, from the output of `notifyutil` and `pmset -g therm`."""
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


def lid_of_mac(registry: str) -> str | None:
    """The lid, from the output of `ioreg`."""
    closed = re.search(r'"AppleClamshellState" = (Yes|No)', registry)
    return closed and {"Yes": "closed", "No": "open"}[closed[1]]


def lid_of_linux(folder: Path) -> str | None:
    """The lid, from the files of ACPI."""
    states = [_word(path).split()[-1:] for path in folder.glob("*/state")]
    return next((word for words in states for word in words if word in ("open", "closed")), None)


def _load_average() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _word(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
