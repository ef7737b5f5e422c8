"""What the machine is, whether MLX can run on it, and the most it can do.

Only the standard library is imported here: the set-up scripts ask `unsupported_reason` with the system's
Python before anything is installed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

# The tags of the wheels of mlx 0.32.4: macosx_14_0_arm64, manylinux_2_35_{x86_64,aarch64}, cp310 and later.
OLDEST_MACOS, OLDEST_GLIBC, OLDEST_PYTHON = (14, 0), (2, 35), (3, 10)
LINUX_PROCESSORS = ("x86_64", "aarch64")
_NEEDS = "mlx_tiny needs a Mac with Apple silicon and macOS 14 or later, or Linux with glibc 2.35 or later"
REPORTED_PACKAGES = ("mlx", "numpy", "sentencepiece", "datasets")
MATMUL_SIZES, SURE_MATMUL_SIZE = (256, 512, 1024, 2048, 4096), 512
COPY_BYTES = 1 << 26  # beyond the caches of the machines at hand, and still quick
LARGEST_COPY_STREAMS = 4  # as many as saturate the memory of small machines


@dataclass(frozen=True)
class Machine:
    """One computer, as a report names it; None where the system does not tell."""

    system: str
    """`macOS` or `Linux`."""
    release: str
    """Version of macOS, or of the Linux kernel."""
    architecture: str
    chip: str
    cores: int
    """Cores that this process may use."""
    performance_cores: int | None
    efficiency_cores: int | None
    memory_bytes: int
    """Memory that this process may use, a container's limit included."""
    device: str
    """Where MLX computes: `gpu (Metal)`, `gpu (CUDA)` or `cpu`."""
    power: str | None
    """`mains` or `battery`, with `low power mode` where it is on."""
    blas: str
    """What multiplies matrices on the CPU."""
    python: str
    versions: dict[str, str | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The machine as a plain dictionary, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Platform:
    """What decides whether MLX's wheels run; `here` reads it, tests make it up."""

    system: str
    """As `sys.platform` names it."""
    processor: str
    bits: int = 64
    python: tuple[int, int] = (3, 12)
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
            python=sys.version_info[:2],
            macos=_two_numbers(platform.mac_ver()[0]) or (0, 0),
            translated=sys.platform == "darwin" and _sysctl("sysctl.proc_translated") == "1",
            glibc=_glibc(),
        )


def unsupported_reason(where: Platform | None = None) -> str | None:
    """Why MLX cannot run here: one paragraph with the remedy, or None where it can.

    Args:
        where: another platform than this process's, for tests.
    """
    where = where or Platform.here()
    reason = _unsupported_mac(where) if where.system == "darwin" else _unsupported_elsewhere(where)
    if reason is None and where.bits != 64:
        return "This Python is built for 32 bits. Install a 64-bit Python, or name it by PYTHON=."
    if reason is None and where.python < OLDEST_PYTHON:
        found = ".".join(map(str, where.python))
        return f"This is Python {found}, and mlx_tiny needs 3.10 to 3.13. Install one, or name it by PYTHON=."
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


def describe() -> Machine:
    """Describe the machine; MLX is imported for its device, and its BLAS is chosen if it was not."""
    from mlx_tiny import __version__
    from mlx_tiny.linux.blas import use_fast_blas

    mac = sys.platform == "darwin"
    performance, efficiency = (_sysctl_count(f"hw.perflevel{level}.physicalcpu") for level in (0, 1))
    return Machine(
        system="macOS" if mac else platform.system(),
        release=platform.mac_ver()[0] if mac else platform.release(),
        architecture=platform.machine(),
        chip=chip(),
        cores=usable_cores(),
        performance_cores=performance,
        efficiency_cores=efficiency,
        memory_bytes=memory_bytes(),
        device=device(),
        power=power_source(),
        blas=use_fast_blas().name,
        python=platform.python_version(),
        versions={**{name: _version(name) for name in REPORTED_PACKAGES}, "mlx_tiny": __version__},
    )


def device() -> str:
    """Where MLX computes by default: `gpu (Metal)`, `gpu (CUDA)` or `cpu`."""
    import mlx.core as mx

    if mx.default_device().type != mx.gpu:
        return "cpu"
    return "gpu (Metal)" if mx.metal.is_available() else "gpu (CUDA)"


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and its container's quota rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # "200000 100000" is microseconds of work a period; version 1 of control groups has a file for each.
    limits = [text.split() for text in _control_group_files("cpu", "cpu.max")]
    old = (_control_group_files("cpu", f"cpu.cfs_{name}_us") for name in ("quota", "period"))
    for quota, period in [*limits, *zip(*old, strict=False)]:
        if quota.isdigit() and period.isdigit():
            cores = min(cores, max(1, -(-int(quota) // int(period))))
    return cores


def memory_bytes() -> int:
    """Memory that this process may use: the machine's, or its container's limit where that is lower."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory.limit_in_bytes"):
        limits = _control_group_files("memory", name)
        total = min([total, *(int(text) for text in limits if text.isdigit() and int(text) > 0)])
    return total


def power_source() -> str | None:
    """`mains` or `battery`, with `low power mode` where it is on; None where the system does not tell."""
    if sys.platform == "darwin":
        return _power_of_mac(_output("pmset", "-g", "batt"), _output("pmset", "-g"))
    return _power_of_linux(Path("/sys/class/power_supply"))


def peak_memory_bytes() -> int:
    """Most memory held so far: resident memory, or MLX's Metal buffers where those were more.

    The two overlap on unified memory, so the larger is taken and not the sum.
    """
    import resource

    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    mx = sys.modules.get("mlx.core")
    buffers = mx.get_peak_memory() if mx is not None and mx.metal.is_available() else 0
    return max(resident, buffers)


def matmul_peak(dtype: str = "float32", seconds: float = 0.3) -> float:
    """Measure the largest rate of square matrix products in FLOP/s, on MLX's device, with one and with all cores.

    On a CPU that others use, all cores can be ten times slower than one: the threads wait for each other.

    Args:
        dtype: MLX's name of the type, such as "float32" or "bfloat16".
        seconds: time to spend, about; larger sizes are left out when one product of them would exceed it.
    """
    from mlx_tiny.linux.blas import blas_threads_set_to, use_fast_blas

    use_fast_blas()
    counts = [1] if device() != "cpu" else sorted({1, usable_cores()})
    best = 0.0
    for count in counts:
        with blas_threads_set_to(count):
            best = max(best, _matmul_rate(dtype, seconds / len(counts)))
    return best


def _matmul_rate(dtype: str, seconds: float) -> float:
    import mlx.core as mx

    # Several products an evaluation, so that starting a GPU's work does not count.
    products = 8 if device() != "cpu" else 1
    best, spent = 0.0, 0.0
    for size in MATMUL_SIZES:
        flops = 2.0 * products * size**3
        if size > SURE_MATMUL_SIZE and spent + flops / best > seconds:
            break
        matrix = mx.ones((size, size), dtype=getattr(mx, dtype))  # no draw from the run's random state
        mx.eval(matrix @ matrix)

        def multiply(matrix: Any = matrix) -> None:
            mx.eval([matrix @ matrix for _ in range(products)])

        durations = _repeat(multiply, seconds / len(MATMUL_SIZES))
        best, spent = max(best, flops / min(durations)), spent + sum(durations)
    return best


def copy_peak(seconds: float = 0.2) -> float:
    """Measure the largest rate of bytes read and written in a copy by MLX, in bytes/s, on its device."""
    import mlx.core as mx

    counts = [1] if device() != "cpu" else sorted({1, min(usable_cores(), LARGEST_COPY_STREAMS)})
    best = 0.0
    for count in counts:
        # mx.negative reads and writes each byte once; a plain copy may be a shared view.
        streams = [mx.new_stream(mx.default_device()) for _ in range(count)] if count > 1 else [None]
        source = mx.ones((COPY_BYTES // 4 // len(streams),), dtype=mx.float32)
        mx.eval(source)

        def copy(source: Any = source, streams: Any = streams) -> None:
            mx.eval([mx.negative(source, stream=stream) for stream in streams])

        copy()
        best = max(best, 2.0 * COPY_BYTES / min(_repeat(copy, seconds / len(counts))))
    return best


@contextlib.contextmanager
def keep_awake() -> Iterator[None]:
    """Keep a Mac awake inside the block, and its display on; on other systems nothing happens."""
    helper = None
    if sys.platform == "darwin":
        with contextlib.suppress(OSError):
            # -w: it ends with this process even where that is killed.
            helper = subprocess.Popen(["caffeinate", "-dims", "-w", str(os.getpid())])
    try:
        yield
    finally:
        if helper is not None:
            helper.terminate()
            helper.wait()


def _repeat(work: Callable[[], None], seconds: float) -> list[float]:
    """Durations of `work` in seconds, repeated at least 3 times and for about `seconds`."""
    durations: list[float] = []
    while len(durations) < 3 or sum(durations) < seconds:
        began = time.perf_counter()
        work()
        durations.append(time.perf_counter() - began)
    return durations


def chip() -> str:
    """Name of the processor, such as "Apple M3 Max"."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    return _chip_of_linux(_text("/proc/cpuinfo"), _text("/proc/device-tree/model"), platform.machine())


def _chip_of_linux(processors: str, board: str, architecture: str) -> str:
    """Name of the processor; ARM kernels give none, but often the board's."""
    match = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", processors, re.MULTILINE)
    return (match[1] if match else board.strip("\0 \n")) or architecture


def _power_of_mac(battery: str, settings: str) -> str | None:
    source = re.search(r"drawing from '(AC|Battery|UPS)", battery)
    if source is None:
        return None
    name = "mains" if source[1] == "AC" else "battery"
    return f"{name}, low power mode" if re.search(r"^\s*lowpowermode\s+1", settings, re.MULTILINE) else name


def _power_of_linux(folder: Path) -> str | None:
    supplies = sorted(folder.iterdir()) if folder.is_dir() else []
    if any(_text(supply / "online") == "1" for supply in supplies if _text(supply / "type") == "Mains"):
        return "mains"
    batteries = [supply for supply in supplies if _text(supply / "type") == "Battery"]
    batteries = [supply for supply in batteries if _text(supply / "scope") != "Device"]  # mice and keyboards
    if any(_text(supply / "status") == "Discharging" for supply in batteries):
        return "battery"
    return "mains" if batteries else None


def _control_group_files(controller: str, name: str) -> list[str]:
    """Contents of the file `name` in this process's control groups, version 1 and 2, and their parents."""
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


def _glibc() -> tuple[int, int] | None:
    try:
        return _two_numbers((os.confstr("CS_GNU_LIBC_VERSION") or "").split(" ")[-1])
    except (AttributeError, ValueError, OSError):
        return None


def _two_numbers(text: str) -> tuple[int, int] | None:
    match = re.match(r"(\d+)(?:\.(\d+))?", text)
    return (int(match[1]), int(match[2] or 0)) if match else None


def _sysctl(name: str) -> str:
    return _output("sysctl", "-n", name).strip() if sys.platform == "darwin" else ""


def _sysctl_count(name: str) -> int | None:
    text = _sysctl(name)
    return int(text) if text.isdigit() else None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
