"""Whether MLX can run on a machine. Which Python is needed is written in pyproject.toml.

The set-up scripts run this with the system's Python before anything is installed, so only the standard library is
imported, and the syntax is that of Python 3.8.
"""

from __future__ import annotations

import os
import platform
import re
import struct
import sys
from dataclasses import dataclass

from mlx_tiny.tools.processes import output

# The tags of the wheels of mlx 0.32.4: macosx_14_0_arm64, manylinux_2_35_{x86_64,aarch64}.
OLDEST_MACOS, OLDEST_GLIBC = (14, 0), (2, 35)
LINUX_PROCESSORS = ("x86_64", "aarch64")
_NEEDS = "mlx_tiny needs a Mac with Apple silicon and macOS 14 or later, or Linux with glibc 2.35 or later"


@dataclass(frozen=True)
class Platform:
    """What decides whether the wheels of MLX run on a machine."""

    system: str
    """As `sys.platform` names it."""
    processor: str
    bits: int = 64
    macos: tuple[int, int] = (0, 0)
    translated: bool = False
    """Whether an Intel Python runs on Apple silicon."""
    glibc: tuple[int, int] | None = None

    @staticmethod
    def here() -> Platform:
        """The platform of this process."""
        return Platform(
            system=sys.platform,
            processor=platform.machine(),
            bits=struct.calcsize("P") * 8,
            macos=_two_numbers(platform.mac_ver()[0]) or (0, 0),
            translated=sys.platform == "darwin" and output("sysctl", "-n", "sysctl.proc_translated") == "1\n",
            glibc=_glibc(),
        )


def unsupported_reason(where: Platform | None = None) -> str | None:
    """Why MLX cannot run here: one paragraph with the remedy, or None where it can.

    Args:
        where: a platform instead of that of this process, for tests.
    """
    where = where or Platform.here()
    reason = _unsupported_mac(where) if where.system == "darwin" else _unsupported_elsewhere(where)
    if reason is None and where.bits != 64:
        return "This Python is built for 32 bits. Install a 64-bit Python, or name it by PYTHON=."
    return reason


def _unsupported_elsewhere(where: Platform) -> str | None:
    if where.system != "linux":
        found = "Windows" if where.system in ("win32", "cygwin", "msys") else where.system
        linux = " Under Windows, use WSL 2 with Ubuntu 22.04 or later." if found == "Windows" else ""
        return f"mlx_tiny does not run on {found}. {_NEEDS}.{linux}"
    if where.processor not in LINUX_PROCESSORS:
        return f"MLX has no build for Linux on {where.processor}. {_NEEDS}, on x86_64 or aarch64."
    if where.glibc is None:
        return f"This Linux uses musl instead of glibc (as Alpine does), and MLX needs glibc. {_NEEDS}."
    if where.glibc < OLDEST_GLIBC:
        found = ".".join(map(str, where.glibc))
        return (
            f"This Linux has glibc {found}, and MLX needs 2.35 or later. Use Ubuntu 22.04, Debian 12, "
            "Fedora 36 or a later one, or a container with one of them."
        )
    return None


def _unsupported_mac(where: Platform) -> str | None:
    if where.translated:
        return (
            "This Python is built for Intel and runs translated (Rosetta); MLX needs one for Apple silicon. "
            "Install an arm64 Python, for example from python.org, and name it by PYTHON=."
        )
    if where.processor != "arm64":
        return f"This is a Mac with an Intel processor, and MLX runs on Apple silicon only. {_NEEDS}."
    if where.macos < OLDEST_MACOS:
        found = ".".join(map(str, where.macos))
        return f"This is macOS {found}, and MLX needs macOS 14 or later. Update macOS, then start again."
    return None


def _glibc() -> tuple[int, int] | None:
    try:
        return _two_numbers((os.confstr("CS_GNU_LIBC_VERSION") or "").split(" ")[-1])
    except (AttributeError, ValueError, OSError):
        return None


def _two_numbers(text: str) -> tuple[int, int] | None:
    match = re.match(r"(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2] or 0)) if match else None
