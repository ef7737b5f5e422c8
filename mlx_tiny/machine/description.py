"""The description of the machine that is part of every record: its hardware, versions and state.

It does not name the computer, its user or a folder, so that records can be published.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mlx_tiny import __version__
from mlx_tiny.machine.hardware import chip, core_kinds, memory_bytes, usable_cores
from mlx_tiny.machine.state import State, state
from mlx_tiny.records import to_plain
from mlx_tiny.tools.processes import ROOT, output
from mlx_tiny.tools.tables import readable

PACKAGES = ("mlx", "numpy", "sentencepiece", "datasets", "torch")
"""Packages whose versions are described, if they are installed."""


@dataclass(frozen=True)
class Machine:
    """A computer; what the system does not tell is None."""

    system: str
    """Name and version, such as "macOS 15.5", or "Linux" and the version of the kernel."""
    architecture: str
    chip: str
    cores: int
    """Cores that this process may use."""
    performance_cores: int | None
    efficiency_cores: int | None
    memory_bytes: int
    """Memory that this process may use; the limit of a container counts."""
    device: str | None
    """Where MLX computes: `gpu (Metal)`, `gpu (CUDA)` or `cpu`; None where MLX was not imported."""
    blas: str | None
    """The library with which MLX multiplies matrices on the CPU."""
    python: str
    versions: dict[str, str]
    commit: str | None
    """Commit of the checkout that contains the package, with `+changes` where files differ from it."""
    state: State

    def lines(self) -> dict[str, str]:
        """Everything that is known, by name."""
        return readable(to_plain(self))


def describe(*, mlx: bool = True) -> Machine:
    """Describe the machine as it is now.

    Args:
        mlx: import MLX to describe its device, and choose its BLAS if that was not done before.
    """
    return replace(_lasting(mlx), state=state())


@functools.cache
def _lasting(mlx: bool) -> Machine:
    """The machine, with its state at the first call."""
    mac = sys.platform == "darwin"
    performance, efficiency = core_kinds()
    return Machine(
        system=f"macOS {platform.mac_ver()[0]}" if mac else f"{platform.system()} {platform.release()}",
        architecture=platform.machine(),
        chip=chip(),
        cores=usable_cores(),
        performance_cores=performance,
        efficiency_cores=efficiency,
        memory_bytes=memory_bytes(),
        device=device() if mlx else None,
        blas=_blas() if mlx else None,
        python=platform.python_version(),
        versions={"mlx_tiny": __version__, **dict(_versions())},
        commit=commit(),
        state=state(),
    )


def device() -> str:
    """Where MLX computes by default: `gpu (Metal)`, `gpu (CUDA)` or `cpu`."""
    import mlx.core as mx

    if mx.default_device().type != mx.gpu:
        return "cpu"
    return "gpu (Metal)" if mx.metal.is_available() else "gpu (CUDA)"


def _blas() -> str:
    from mlx_tiny.linux.blas import use_fast_blas

    return use_fast_blas().name


def _versions() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield package, importlib.metadata.version(package)


@functools.cache
def commit() -> str | None:
    """Commit of the checkout, with `+changes` where files other than benchmarks/results differ; None without git."""
    if not (ROOT / ".git").exists():
        return None
    named = output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD").strip()
    changed = output(
        "git", "--no-optional-locks", "-C", str(ROOT), "status", "--porcelain", "--", ".", ":!benchmarks/results"
    )
    return (f"{named}+changes" if changed else named) or None
