"""How MLX computes on this machine: which BLAS, and how many lanes work side by side.

MLX's CPU backend runs each stream on one thread. So work is cut into one part a core, each on a stream of its own
(a *lane*), and the BLAS is told to use one thread a product: two lanes keep two cores 97 % busy, where threads inside
single products leave everything between the products to one core. A GPU has one lane.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
from collections.abc import Iterator

import mlx.core as mx

from mlx_tiny import blas
from mlx_tiny.machine import usable_cores

# Beyond this, parts of a batch become too small to be worth a thread.
_MOST_LANES = 16


def on_cpu() -> bool:
    """Whether MLX's default device is the CPU."""
    return mx.default_device().type == mx.DeviceType.cpu


@functools.cache
def prepare() -> blas.BlasStatus:
    """Make MLX use a fast BLAS, one thread a product, and evaluate lanes side by side; idempotent.

    Returns:
        Which BLAS serves the CPU's products, and why.
    """
    if on_cpu():
        # MLX walks its graph breadth first up to this width, and depth first beyond. At its default of 20 the lanes
        # of one graph are evaluated one after the other; it is read at the first evaluation.
        os.environ.setdefault("MLX_BFS_MAX_WIDTH", "200")
    status = blas.use_fast_blas()
    if on_cpu() and len(lanes()) > 1:
        blas.set_blas_threads(1)
    return status


@functools.cache
def why_not_compiled() -> str | None:
    """Why `mx.compile` does not work on this machine, or None where it does: on a CPU MLX needs g++ for it."""
    if not on_cpu():
        return None
    if shutil.which("g++") is None:
        return "MLX compiles its CPU graphs with g++, which is not on the PATH"
    try:
        mx.eval(mx.compile(lambda x: mx.abs(x) * x + 1)(mx.ones(3)))
    except RuntimeError as error:  # a broken g++, or a temporary folder that is full or mounted noexec
        return f"MLX could not compile a CPU graph ({str(error).strip().splitlines()[0]})"
    return None


@functools.cache
def lanes() -> tuple[mx.Stream, ...]:
    """The streams to spread independent work over: one a usable core on a CPU, the default one on a GPU.

    `MLX_TINY_LANES` overrides the count.
    """
    if not on_cpu():
        return (mx.default_stream(mx.default_device()),)
    count = int(os.environ.get("MLX_TINY_LANES", "0")) or min(usable_cores(), _MOST_LANES)
    return tuple(mx.new_stream(mx.cpu) for _ in range(count)) if count > 1 else (mx.default_stream(mx.cpu),)


@contextlib.contextmanager
def lane(index: int) -> Iterator[None]:
    """Put the operations built inside the block on lane `index`, modulo the number of lanes."""
    streams = lanes()
    with mx.stream(streams[index % len(streams)]):
        yield


def lanes_for(rows: int) -> int:
    """The largest number of lanes that divides `rows` equal parts among them."""
    return max(count for count in range(1, len(lanes()) + 1) if rows % count == 0)
