"""The highest rates measured on this machine, and the shortest time that they allow for an operation."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.machine.description import device
from mlx_tiny.machine.hardware import usable_cores

MATMUL_SIZES, SURE_MATMUL_SIZE = (256, 512, 1024, 2048, 4096), 512
COPY_BYTES = 1 << 26  # larger than caches, and still quick
_CHAIN = 64
_REPEATS = 9
_LANE_SIZE = 512
# Sizes of copies that fit into caches, and the least bytes that a measurement of one moves.
_CACHED_BYTES = (1_000_000, 4_000_000, 16_000_000)
_MOVED_BYTES = 64_000_000

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Peaks:
    """Rates on MLX's device, measured in the same run as what is compared with them."""

    matmul_flops_per_s: dict[str, float]
    """By dtype."""
    copy_bytes_per_s: float
    """Bytes read from memory and written to it."""
    launch_s: float
    """Time that one more tiny operation adds to an evaluation."""
    evaluation_s: float
    """Time of an evaluation of one tiny operation, including the wait for it."""
    products: str
    """Precision of float32 products: `float32`, or `tf32` where the device rounds the factors to ten bits."""
    cached_bytes_per_s: dict[str, float] = field(default_factory=dict)
    """Rates of copies that read and write as many bytes as the key says, which may fit into caches."""

    def moved_per_s(self, moved_bytes: float) -> float:
        """The most bytes per second for an operation that reads and writes `moved_bytes`.

        It is the rate of the next smaller copy, or of a larger one if that was faster.
        """
        rates = {2 * COPY_BYTES: self.copy_bytes_per_s, **{int(k): v for k, v in self.cached_bytes_per_s.items()}}
        own = max((size for size in rates if size <= moved_bytes), default=min(rates))
        return max(rate for size, rate in rates.items() if size >= own)


@dataclass(frozen=True)
class Bound:
    """The shortest time that the roofline allows."""

    seconds: float
    by: str
    """`compute`, `memory` or `launch`."""


def _multiplied(left: Floats, right: Floats) -> Floats:
    return np.array(mx.array(left) @ mx.array(right))


def measure(dtypes: Sequence[str], seconds: float = 0.3) -> Peaks:
    """Measure all peaks.

    Args:
        dtypes: of the matrix products.
        seconds: time for the products of each dtype.
    """
    matmul = {dtype: max(matmul_peak(dtype, seconds), _rate_of_lanes(dtype)) for dtype in dtypes}
    launch_s, evaluation_s = _latencies()
    cached = {str(size): copy_peak(size) for size in _CACHED_BYTES}
    return Peaks(matmul, copy_peak(), launch_s, evaluation_s, precision_of_products(), cached)


def bound(peaks: Peaks, dtype: str, *, flops: float, moved_bytes: float, launches: int = 1) -> Bound:
    """The shortest time for so many FLOPs, bytes to and from memory, and launches.

    Args:
        dtype: of the matrix products.
        flops: those that the operation needs, whatever the implementation.
        moved_bytes: all inputs read once and all outputs written once.
    """
    parts = {
        "compute": flops / peaks.matmul_flops_per_s[dtype],
        "memory": moved_bytes / peaks.moved_per_s(moved_bytes),
        "launch": launches * peaks.launch_s,
    }
    longest = max(parts, key=lambda name: parts[name])
    return Bound(parts[longest], longest)


def matmul_peak(dtype: str = "float32", seconds: float = 0.3) -> float:
    """Measure the highest rate of square matrix products in FLOP/s, on MLX's device, with one core and with all cores.

    On a CPU that other programs use, all cores can be ten times slower than one, because threads wait for each other.

    Args:
        dtype: such as "float32" or "bfloat16".
        seconds: about how long to measure; sizes of which one product would take longer are left out.
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
    # Several products per evaluation, so that the start of a GPU's work hardly counts.
    products = 8 if device() != "cpu" else 1
    best, spent = 0.0, 0.0
    for size in MATMUL_SIZES:
        flops = 2.0 * products * size**3
        if size > SURE_MATMUL_SIZE and spent + flops / best > seconds:
            break
        matrix = mx.ones(
            (size, size), dtype=getattr(mx, dtype)
        )  # ones, because random numbers would change the random state
        mx.eval(matrix @ matrix)

        def multiply(matrix: Any = matrix) -> None:
            mx.eval([matrix @ matrix for _ in range(products)])

        durations = _repeated(multiply, seconds / len(MATMUL_SIZES), 3)
        best, spent = max(best, flops / min(durations)), spent + sum(durations)
    return best


def copy_peak(size: int = 2 * COPY_BYTES) -> float:
    """Measure the highest rate of repeated copies that read and write `size` bytes each, in bytes per second.

    On a CPU all cores copy within memory that they hold: MLX would allocate new memory for each result, which can take
    longer than the copy itself.
    """
    calls = max(1, _MOVED_BYTES // size)
    if device() == "cpu":
        count = usable_cores()
        pairs = [(np.ones(size // 2 // count, np.uint8), np.ones(size // 2 // count, np.uint8)) for _ in range(count)]

        def copy(pair: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
            for _ in range(calls):
                np.copyto(*pair)

        with ThreadPoolExecutor(count) as threads:
            durations = _repeated(lambda: list(threads.map(copy, pairs)))
    else:
        source = mx.ones((size // 8,), dtype=mx.float32)
        mx.eval(source)

        def chain() -> None:
            # mx.negative reads and writes each byte once; a plain copy may be a shared view.
            value = source
            for _ in range(calls):
                value = mx.negative(value)
            mx.eval(value)

        durations = _repeated(chain)
    return float(size) * calls / min(durations)


def _rate_of_lanes(dtype: str) -> float:
    """FLOP/s of products on all lanes at once, as in a training step; for dtypes without a BLAS this is the highest."""
    from mlx_tiny.linux.lanes import lane, lanes

    matrix = mx.ones((_LANE_SIZE, _LANE_SIZE), dtype=getattr(mx, dtype))
    mx.eval(matrix)

    def multiply() -> None:
        products = []
        for index in range(len(lanes())):
            with lane(index):
                products.append(matrix @ matrix)
        mx.eval(products)

    return 2.0 * _LANE_SIZE**3 * len(lanes()) / min(_repeated(multiply))


def _repeated(work: Callable[[], object], seconds: float = 0.0, least: int = _REPEATS) -> list[float]:
    """Durations of `work` in seconds, repeated at least `least` times and for about `seconds`."""
    durations: list[float] = []
    while len(durations) < least or sum(durations) < seconds:
        began = time.perf_counter()
        work()
        durations.append(time.perf_counter() - began)
    return durations


def _latencies() -> tuple[float, float]:
    """Time of one more launch, and of an evaluation with one launch, from chains of tiny dependent operations."""
    start = mx.zeros(8)
    mx.eval(start)

    def chain(length: int) -> None:
        value = start
        for _ in range(length):
            value = mx.sin(value)
        mx.eval(value)

    def usual(length: int) -> float:
        return sorted(_repeated(lambda: chain(length)))[_REPEATS // 2]

    chain(_CHAIN)
    short, long = usual(1), usual(_CHAIN + 1)
    return max(0.0, long - short) / _CHAIN, short


def precision_of_products(multiply: Callable[[Floats, Floats], Floats] = _multiplied) -> str:
    """`float32` or `tf32`, judging by the error of one product, which in float32 is far below 2^-16."""
    generator = np.random.default_rng(0)
    left, right = (generator.standard_normal((128, 128)).astype(np.float32) for _ in range(2))
    exact = left.astype(np.float64) @ right.astype(np.float64)
    error = np.abs(multiply(left, right) - exact).max() / np.abs(exact).max()
    return "float32" if error < 2.0**-16 else "tf32"
