"""Translated kernels as shared libraries, several to a translation unit, kept by the hash of what went into them."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import cache, instrumentation
from .compiler import FLAGS, RUNTIME, Build, CompileError, compile_file, compiler, uninitialised
from .translation import Translation, unit

# Of one unit: more share the headers' cost, fewer are found again when one of their texts changes.
_TOGETHER = 12
_LOCKS = 16


@dataclass(frozen=True)
class Wanted:
    """A kernel, and a function that gives the way to compile it."""

    kernel: Translation
    build: Callable[[bool], Build]
    other_lane_map: bool

    def name(self) -> str:
        """Of its file in the cache."""
        return _name(self.kernel.text, self.build(self.other_lane_map))


def library(kernel: Translation, build: Build) -> Path:
    """The shared library with a kernel, compiled unless it is at hand.

    Raises:
        CompileError: the text is not valid.
    """
    name = _name(kernel.text, build)
    return cache.find(name) or _compile([kernel], build)[name]


def build_together(wanted: Sequence[Wanted]) -> None:
    """Compile those that are not at hand, several to a unit; a text that is not valid is left for `library` to report.

    Processes that want the same share the work: each takes the units that no other is busy with, and then waits.
    """
    groups: dict[tuple[Callable[[bool], Build], bool], list[Translation]] = {}
    for one in dict.fromkeys(wanted):
        groups.setdefault((one.build, one.other_lane_map), []).append(one.kernel)
    units = [
        (part, build(other_lane_map))
        for (build, other_lane_map), kernels in groups.items()
        for part in _parts(kernels)
        if _missing(part, build(other_lane_map))
    ]
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // processes)) as pool:
        done = list(pool.map(lambda work: _build(*work, wait=False), units))
        left = [work for work, finished in zip(units, done, strict=True) if not finished]
        list(pool.map(lambda work: _build(*work, wait=True), left))


def _parts(kernels: Sequence[Translation]) -> Iterator[Sequence[Translation]]:
    sociable = [kernel for kernel in kernels if not kernel.alone]
    yield from ([kernel] for kernel in kernels if kernel.alone)
    yield from (sociable[first : first + _TOGETHER] for first in range(0, len(sociable), _TOGETHER))


def unset_lines(kernel: Translation) -> list[int]:
    """Lines of the captured source in which the compiler sees a variable read that may have no value."""
    name = cache.digest("unset", kernel.text, *_own()) + ".json"
    if path := cache.find(name):
        return list(json.loads(path.read_bytes()))
    with cache.workplace() as folder:
        source = folder / "unit.cpp"
        source.write_text(unit([kernel]))
        lines = uninitialised(source)
    cache.keep(name, json.dumps(lines).encode())
    return lines


def _missing(kernels: Sequence[Translation], build: Build) -> list[Translation]:
    return [kernel for kernel in kernels if not cache.find(_name(kernel.text, build))]


def _build(kernels: Sequence[Translation], build: Build, *, wait: bool) -> bool:
    """Whether it is done: not, where another process is busy with it and this one is not to wait."""
    with _lock(cache.digest(*(kernel.symbol for kernel in kernels), *build.kernel_flags), wait) as mine:
        if mine and (missing := _missing(kernels, build)):
            _compile_valid(missing, build)
        return mine


def _compile_valid(kernels: Sequence[Translation], build: Build) -> None:
    try:
        _compile(kernels, build)
    except CompileError:
        # The parts of a unit that hold no mistake.
        half = len(kernels) // 2
        for part in (kernels[:half], kernels[half:]) if half else ():
            _compile_valid(part, build)


@contextlib.contextmanager
def _lock(name: str, wait: bool) -> Iterator[bool]:
    with (cache.cache_folder() / f"{int(name, 16) % _LOCKS}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def _compile(kernels: Sequence[Translation], build: Build) -> dict[str, Path]:
    """One library with all of the kernels, under the name of each."""
    objects = [str(_runtime_object(source, build.flags)) for source in sorted(RUNTIME.glob("*.cpp"))]
    with cache.workplace() as folder:
        source, assembly, compiled, built = (folder / f"unit.{end}" for end in ("cpp", "s", "o", "so"))
        source.write_text(unit(kernels))
        compile_file("-S", source, assembly, (*build.flags, *build.kernel_flags))
        assembly.write_text(build.edit(assembly.read_text()))
        compiler().run("-c", str(assembly), "-o", str(compiled))
        # Lines have been put into the calls, so the library needs no debug information.
        compiler().run("-shared", "-Wl,-S", "-o", str(built), str(compiled), *objects, *compiler().libraries)
        paths = {}
        for kernel in kernels:
            name = _name(kernel.text, build)
            os.link(built, folder / name)
            paths[name] = (folder / name).replace(cache.cache_folder() / name)
    return paths


def _runtime_object(source: Path, flags: tuple[str, ...]) -> Path:
    name = cache.digest(source.name, *flags, *_own()) + ".o"
    if path := cache.find(name):
        return path
    with cache.workplace() as folder:
        compile_file("-c", source, folder / name, ("-O2", *flags))
        return (folder / name).replace(cache.cache_folder() / name)


def _name(text: str, build: Build) -> str:
    return cache.digest(text, *build.flags, *build.kernel_flags, *_own()) + ".so"


def _own() -> tuple[str, ...]:
    return (*FLAGS, *compiler().flags, *compiler().libraries, compiler().name, _machine(), _runtime_text())


@functools.cache
def _runtime_text() -> str:
    files = [path for path in sorted(RUNTIME.iterdir()) if path.suffix in (".h", ".cpp")]
    return "".join(path.read_text() for path in (*files, Path(instrumentation.__file__)))


@functools.cache
def _machine() -> str:
    """What -march=native means here."""
    try:
        flags = re.search(r"^flags.*$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        flags = None
    return platform.platform(terse=True) + platform.machine() + (flags[0] if flags else "")
