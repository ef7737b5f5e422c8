"""Random arrays for MLX and float64 numpy, and comparison by the table of tolerances."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
from emulator import LaunchRecord, emulated_metal

from mlx_tiny.ops import metal
from mlx_tiny.ops.conformance import to_float64
from mlx_tiny.ops.operation import Named, Operation, Special
from mlx_tiny.tolerances import bounds

ON_GPU = metal.why_not_metal() is None


def rounded(values: np.ndarray, dtype: str) -> tuple[mx.array, np.ndarray]:
    """`values` in a dtype, and exactly the same numbers in float64."""
    array = mx.array(values.astype(np.float32)).astype(getattr(mx, dtype))
    return array, to_float64(array)


def normal(generator: np.random.Generator, shape: tuple[int, ...], dtype: str = "float32", scale: float = 1.0):
    """Random normal numbers as `rounded` gives them."""
    return rounded(scale * generator.standard_normal(shape), dtype)


def assert_close(got: Any, expected: Any, entry: str, dtype: str, what: str = "") -> None:
    """Compare by the entry of the table of tolerances."""
    got, expected = (np.asarray(a) if isinstance(a, float) else to_float64(a) for a in (got, expected))
    excess = bounds(entry, dtype).excess(got, expected)
    assert excess <= 1, f"{what or entry} in {dtype} is off by {excess:.3g} times what {entry!r} allows"


@contextlib.contextmanager
def able_to_run(implementation: str) -> Iterator[list[LaunchRecord] | None]:
    """Inside the block the implementation can run: Metal kernels on the GPU, or in the emulator without one."""
    with emulated_metal() if implementation == "metal" and not ON_GPU else contextlib.nullcontext() as launches:
        yield launches


def with_inputs(operation: Operation, change: Callable[[Named], Named], entry: str = "") -> Operation:
    """The operation with one more kind of inputs, called "other": random ones after `change`."""
    specials = {**operation.proof.specials, "other": Special(change, entry)}
    return replace(operation, proof=replace(operation.proof, specials=specials))
