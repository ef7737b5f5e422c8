"""One launch of a kernel given as text, for the tests of the emulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from . import emulated_metal


def run_kernel(
    body: str,
    *inputs: mx.array,
    header: str = "",
    threads: int = 32,
    threadgroups: tuple[int, int, int] = (1, 1, 1),
    shape: tuple[int, ...] | None = None,
    dtype: mx.Dtype = mx.float32,
    template: list[tuple[str, Any]] | None = None,
    init_value: float | None = None,
    checking: bool = False,
    lane_map: str = "apple",
    run: Callable[..., object] | None = None,
) -> mx.array:
    """Run a body whose inputs are called a, b, c and whose output is o; returns o, by default one element a thread."""
    x, y, z = threadgroups
    with emulated_metal(checking=checking, lane_map=lane_map, run=run):
        kernel: Any = mx.fast.metal_kernel(
            name="sample", input_names=list("abc"[: len(inputs)]), output_names=["o"], source=body, header=header
        )
        results: list[mx.array] = kernel(
            inputs=list(inputs),
            template=template,
            grid=(x * threads, y, z),
            threadgroup=(threads, 1, 1),
            output_shapes=[(x * y * z * threads,) if shape is None else shape],
            output_dtypes=[dtype],
            init_value=init_value,
        )
    return results[0]
