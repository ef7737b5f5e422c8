"""Uses all cores of a CPU: which BLAS multiplies, and how work is divided among lanes.

MLX's CPU backend runs each stream on one thread. So work is divided into as many parts as there are cores, each part on
a stream of its own (a *lane*), and the BLAS uses one thread per product. Two lanes keep two cores 97 % busy; with
threads inside single products, all work between the products would run on one core. A GPU has one lane.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import mlx.core as mx

from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.linux import blas, kernels
from mlx_tiny.machine.buffers import bound_buffer_cache
from mlx_tiny.machine.hardware import usable_cores
from mlx_tiny.tools.processes import output

# With more lanes, the parts of a batch become too small to be worth a thread.
_MOST_LANES = 16

# From glibc's malloc.h. MLX frees each result after its last use. By default malloc returns large blocks to the system,
# which then has to clear new pages for the next result.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 1 << 30


def on_cpu() -> bool:
    """Whether MLX's default device is the CPU."""
    return mx.default_device().type == mx.DeviceType.cpu


@functools.cache
def prepare() -> blas.BlasStatus:
    """Make MLX use a fast BLAS with one thread per product, evaluate lanes at once, and bound its memory; idempotent.

    Returns:
        Which BLAS multiplies on the CPU, and why.
    """
    if on_cpu():
        # MLX walks its graph breadth first up to this width, and depth first beyond it. At the default, 20, it would
        # evaluate the lanes of one graph one after the other. MLX reads the setting at the first evaluation.
        os.environ.setdefault("MLX_BFS_MAX_WIDTH", "200")
        _keep_freed_memory()
    bound_buffer_cache()
    status = blas.use_fast_blas()
    if on_cpu() and len(lanes()) > 1:
        blas.set_blas_threads(1)
    return status


def _keep_freed_memory() -> None:
    """Make glibc's malloc reuse large freed blocks; on other systems nothing happens."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # musl has no mallopt
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


@functools.cache
def why_not_compiled() -> str | None:
    """Why `mx.compile` does not work on this machine, or None where it does: on a CPU MLX needs g++ for it."""
    if not on_cpu():
        return None
    if not output("g++", "--version"):
        # MLX asks the same, and then computes without having compiled, and without a word.
        return "MLX compiles its CPU graphs with g++, which is not on the PATH, or does not work"
    try:
        mx.eval(compiled_function(lambda x: mx.abs(x) * x + 1)(mx.ones(3)))
    except (RuntimeError, OSError) as error:  # a broken g++, or a folder that is full or mounted noexec
        return f"MLX could not compile a CPU graph ({first_line(error)})"
    return None


def compiled_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """`mx.compile(function)`; on a CPU, MLX compiles its kernels in a private folder."""
    if on_cpu():
        kernels.give_private_folder()
    result: Callable[..., Any] = mx.compile(function)
    return result


def decide_compilation(wanted: bool) -> tuple[bool, str]:
    """Whether to compile the step, and if not, why; `wanted` is the setting `compile`."""
    if not wanted:
        return False, "as asked"
    reason = why_not_compiled()
    return (True, "") if reason is None else (False, f"{reason}; steps take longer")


def lanes() -> tuple[mx.Stream, ...]:
    """The streams to spread independent work over: one per usable core on a CPU, the default one on a GPU.

    `MLX_TINY_LANES` overrides the count.

    Raises:
        TinyError: it is not a positive whole number.
    """
    return (mx.default_stream(mx.default_device()),) if _one.get() else _lanes()


_one: ContextVar[bool] = ContextVar("one lane", default=False)


@contextlib.contextmanager
def one_lane() -> Iterator[None]:
    """Use one lane inside the block, the default stream, as on a GPU."""
    token = _one.set(True)
    try:
        yield
    finally:
        _one.reset(token)


@functools.cache
def _lanes() -> tuple[mx.Stream, ...]:
    if not on_cpu():
        return (mx.default_stream(mx.default_device()),)
    count = _asked_lanes() or min(usable_cores(), _MOST_LANES)
    return tuple(mx.new_stream(mx.cpu) for _ in range(count)) if count > 1 else (mx.default_stream(mx.cpu),)


def _asked_lanes() -> int | None:
    text = os.environ.get("MLX_TINY_LANES", "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise TinyError(
            "MLX_TINY_LANES is not a valid number of lanes",
            expected="a whole number, at least 1",
            got=repr(text),
            remedy="Unset it to have one lane per core",
        )
    return int(text)


@contextlib.contextmanager
def lane(index: int) -> Iterator[None]:
    """Run the operations that are called inside the block on lane `index`, modulo the number of lanes."""
    streams = lanes()
    with mx.stream(streams[index % len(streams)]):
        yield


def over_lanes(function: Callable[..., mx.array], *arrays: mx.array) -> mx.array:
    """`function(*arrays)`, whose entries along the first axis are independent: each lane computes some of them."""
    count = shares(len(arrays[0]))
    if len(count) == 1:
        return function(*arrays)
    parts = []
    for index, share in enumerate(zip(*(mx.split(array, _boundaries(count)) for array in arrays), strict=True)):
        with lane(index):
            parts.append(function(*share))
    return mx.concatenate(parts)


def summed_over_lanes(
    function: Callable[[mx.array, float], tuple[mx.array, dict[str, mx.array]]], rows: mx.array
) -> tuple[mx.array, dict[str, mx.array]]:
    """A value and arrays by name, summed over parts of `rows`; each lane computes one part.

    Args:
        function: takes a part of the rows and its share of all rows.
    """
    counts = shares(len(rows))
    if len(counts) == 1:
        return function(rows, 1.0)
    results = []
    for index, part in enumerate(mx.split(rows, _boundaries(counts))):
        with lane(index):
            results.append(function(part, counts[index] / len(rows)))
    value = sum((value for value, _ in results[1:]), start=results[0][0])
    arrays = {}
    for index, name in enumerate(results[0][1]):
        with lane(index):
            arrays[name] = sum((found[name] for _, found in results[1:]), start=results[0][1][name])
    return value, arrays


def shares(rows: int) -> list[int]:
    """How many of `rows` each lane takes: numbers that differ by at most one, and none of them 0."""
    count = min(len(lanes()), rows)
    return [rows // count + (index < rows % count) for index in range(count)]


def _boundaries(counts: Sequence[int]) -> list[int]:
    """Indices at which `mx.split` cuts to give parts of these sizes."""
    return list(itertools.accumulate(counts[:-1]))
