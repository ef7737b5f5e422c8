"""Runs a captured launch on NumPy arrays."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from .capture import Captured
from .compiler import Build, CompileError, checking_build, nan_build, plain_build
from .faults import Fault, KernelFault, Kind, RawReport, told
from .library import Wanted, build_together, library, unset_lines
from .translation import FILE, Translation, translate

# The runtime keeps the running launch in global variables.
_ONE_AT_A_TIME = threading.Lock()
_MOST_THREADS = 1024
# More than any kernel of the project reads at once.
_SLACK = 1 << 20
# Of processor time; an endless loop must not hang the tests.
LIMIT_MS = 100_000
_LANE_MAPS = ("apple", "other")

Arrays = dict[str, np.ndarray]

# While this is a list, launches are put down in it instead of being run.
_ahead: list[Wanted] | None = None


class _RawBuffer(ctypes.Structure):
    """`Buffer` of runtime/state.h."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_ulong),
        ("granule", ctypes.c_uint),
        ("writable", ctypes.c_int),
        ("initialised", ctypes.c_int),
    )


class _RawLaunch(ctypes.Structure):
    """`Launch` of runtime/state.h."""

    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("threadgroup", ctypes.c_uint * 3),
        ("buffers", ctypes.POINTER(_RawBuffer)),
        ("buffer_count", ctypes.c_int),
        ("limit_ms", ctypes.c_int),
        ("slack", ctypes.c_ulong),
    )


@dataclass(frozen=True)
class Mode:
    """How to run.

    Args:
        checking: watch every access, and raise what is found.
        lane_map: of the 8x8 matrices, `apple` or `other`.
        guarded: raise accesses beyond a buffer; else they find zeros, or are lost, as it may be on a GPU.
    """

    checking: bool = False
    lane_map: str = "apple"
    guarded: bool = True

    def __post_init__(self) -> None:
        if self.lane_map not in _LANE_MAPS:
            raise ValueError(f"expected a lane map of {_LANE_MAPS}, got {self.lane_map!r}")


@dataclass(frozen=True)
class Execution:
    """A launch, and all that its runs share.

    Args:
        launch: text and sizes.
        inputs: one C-contiguous array a name.
        initialised: whether the outputs hold what a kernel may read before it writes.
        mode: of which the lane map and the guards count here.
        place: names a line of the source for messages.
    """

    launch: Captured
    inputs: Arrays
    initialised: bool
    mode: Mode
    place: Callable[[int], str]

    def run(self, outputs: Arrays, build: Callable[[bool], Build]) -> None:
        """Run once; what the kernel does not write of an output keeps its bytes.

        Raises:
            KernelFault: what the kernel did wrong.
        """
        translation = translated(self.launch.source)
        arrays = [bound(name, self.inputs, outputs) for name in translation.buffers]
        buffers = (_RawBuffer * len(arrays))(
            *(
                _RawBuffer(array.ctypes.data, array.nbytes, array.itemsize, name in outputs, self.initialised)
                for name, array in zip(translation.buffers, arrays, strict=True)
            )
        )
        sizes = (ctypes.c_uint * 3)(*self.launch.grid), (ctypes.c_uint * 3)(*self.launch.threadgroup)
        report = RawReport()
        launch, kernel = _functions(translation, build, self.mode.lane_map)
        raw = _RawLaunch(kernel, *sizes, buffers, len(arrays), LIMIT_MS, 0 if self.mode.guarded else _SLACK)
        with _ONE_AT_A_TIME:
            failed = launch(ctypes.byref(raw), ctypes.byref(report))
        if failed:
            raise MemoryError(f"no memory for the launch of {self.launch.name}")
        found = [told(raw, translation.buffers, self.place) for raw in report.faults[: report.count]]
        if found:
            raise KernelFault(self.launch.name, found)

    def run_plain(self, outputs: Arrays, again: Arrays) -> None:
        """Run once, and after a fault of which the plain build does not know the line, once more with the checks.

        Raises:
            KernelFault: what the kernel did wrong.
        """
        try:
            self.run(outputs, plain_build)
        except KernelFault as fault:
            if fault.faults[0].line is None:
                self.run(again, checking_build)
            raise

    def compare(self, zeros: Arrays, nans: Arrays) -> None:
        """Require that a run with zeros in unset local variables gave what one with NaNs gave.

        Raises:
            KernelFault: it did not, so a variable is read that has no value.
        """
        differing = [name for name in zeros if not _same(zeros[name], nans[name])]
        if not differing:
            return
        lines = unset_lines(translated(self.launch.source))
        suspects = f"; the compiler suspects {', '.join(map(self.place, lines))}" if lines else ""
        place = self.place(lines[0]) if lines else self.launch.name
        message = f"{place}: a local variable without a value reaches {', '.join(differing)}{suspects}"
        fault = Fault(Kind.UNINITIALISED_LOCAL, message, lines[0] if lines else None, place)
        raise KernelFault(self.launch.name, [fault])


def execute(
    launch: Captured,
    inputs: Arrays,
    outputs: Arrays,
    *,
    initialised: bool = False,
    mode: Mode = Mode(),
    place: Callable[[int], str] = "line {}".format,
) -> None:
    """Run a launch; the outputs are written in place.

    Args:
        launch: text and sizes.
        inputs: one C-contiguous array a name.
        outputs: the same.
        initialised: whether the outputs hold what a kernel may read before it writes.
        mode: plain or checking, and the lane map.
        place: names a line of the source for messages.

    Raises:
        KernelFault: what the kernel did wrong.
        NotTranslatable, CompileError: the text is not what the emulator takes.
    """
    if not all(launch.threadgroup) or np.prod(launch.threadgroup) > _MOST_THREADS:
        raise ValueError(f"{launch.name}: expected 1 to 1024 threads in a threadgroup, got {launch.threadgroup}")
    if _ahead is not None:
        builds = (checking_build, nan_build) if mode.checking else (plain_build,)
        _ahead.extend(Wanted(translated(launch.source), build, mode.lane_map == "other") for build in builds)
        return
    execution = Execution(launch, inputs, initialised, mode, place)
    again = {name: array.copy() for name, array in outputs.items()}
    try:
        if not mode.checking:
            execution.run_plain(outputs, again)
        else:
            execution.run(outputs, checking_build)
            execution.run(again, nan_build)
            execution.compare(outputs, again)
    except CompileError as error:
        said = re.sub(rf"\b{FILE}:(\d+)", lambda line: place(int(line[1])), str(error))
        raise CompileError(said) from None


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal in every bit, but for which NaN it is."""
    if one.dtype == np.uint16:
        # Perhaps bfloat16.
        nan = ((one & 0x7FFF) > 0x7F80) & ((other & 0x7FFF) > 0x7F80)
        return bool(((one == other) | nan).all())
    if np.issubdtype(one.dtype, np.floating):
        signs = np.signbit(one) == np.signbit(other)
        return bool(((one == other) & signs | np.isnan(one) & np.isnan(other)).all())
    return bool((one == other).all())


def compile_ahead(runs: Iterable[Callable[[], object]], *, expecting_faults: bool = False) -> None:
    """Compile together all that the runs launch; what they compute with is not a number, and nothing is raised.

    Args:
        runs: are called once.
        expecting_faults: of the first run with the checks, so that there will be no second.
    """
    global _ahead
    wanted: list[Wanted] = []
    _ahead = wanted
    try:
        for run in runs:
            with contextlib.suppress(Exception), warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                run()
    finally:
        _ahead = None
    build_together([one for one in wanted if not (expecting_faults and one.build == nan_build)])


@functools.lru_cache(maxsize=1024)
def translated(source: str) -> Translation:
    """The C++ of a captured source."""
    return translate(source)


@functools.lru_cache(maxsize=1024)
def _functions(kernel: Translation, build: Callable[[bool], Build], lane_map: str) -> tuple[Callable[..., int], int]:
    """The runtime's function that launches, and the address of the kernel."""
    loaded = ctypes.CDLL(str(library(kernel, build(lane_map == "other"))))
    return loaded.emulator_launch, ctypes.cast(loaded[kernel.symbol], ctypes.c_void_p).value or 0


def bound(name: str, inputs: Arrays, outputs: Arrays) -> np.ndarray:
    """The array behind a parameter: an output, an input, or what MLX tells of an input's shape."""
    array = outputs.get(name, inputs.get(name))
    if array is not None:
        return array
    owner, _, what = name.rpartition("_")
    shape = inputs[owner].shape
    if what == "ndim":
        return np.array([len(shape)], np.int32)
    if what == "shape":
        return np.array(shape, np.int32)
    # Row-contiguous, counted in elements.
    return np.array([int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))], np.int64)
