"""The launches of the emulator's stand-in for `mx.fast.metal_kernel`, given to a function as CUDA would make them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from emulator import emulated_metal, stand_in
from emulator.capture import Captured
from emulator.cuda.translation import CudaText, cuda_text

Buffer = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Launch:
    """One launch: `buffers` are the kernel's arguments in order (bfloat16 as uint16), `written` marks its outputs.

    The text in `kernel` is made for the lane map `lane_map`.
    """

    name: str
    kernel: CudaText
    lane_map: str
    threadgroups: tuple[int, ...]
    threads: tuple[int, ...]
    buffers: tuple[Buffer, ...]
    written: tuple[bool, ...]

    def outputs(self) -> list[Buffer]:
        """What the kernel writes, as it is before the launch: NaN, or the initial value."""
        return [buffer for buffer, written in zip(self.buffers, self.written, strict=True) if written]


@contextlib.contextmanager
def kernels_run_by(run: Callable[[Launch], list[Buffer]], lane_map: str = "apple") -> Iterator[None]:
    """While this holds, Metal counts as present, and its kernels are launched by `run`, which returns their outputs.

    Args:
        run: returns one array an output, in the order of the kernel's arguments.
        lane_map: which map of 8x8 matrices the text finds, "apple" or "other".
    """

    def execute(captured: Captured, given: dict[str, Buffer], written: dict[str, Buffer], **_: Any) -> None:
        launch = _launch(captured, lane_map, given, written)
        names = [name for name in launch.kernel.buffers if name in written]
        for name, result in zip(names, run(launch), strict=True):
            written[name][...] = result

    with mock.patch.object(stand_in, "execute", execute), emulated_metal(lane_map=lane_map):
        yield


def _launch(captured: Captured, lane_map: str, given: dict[str, Buffer], written: dict[str, Buffer]) -> Launch:
    sizes = list(zip(captured.grid, captured.threadgroup, strict=True))
    if any(threads % group for threads, group in sizes):
        raise ValueError(f"the grid {captured.grid} is no multiple of the threadgroup {captured.threadgroup}")
    named: dict[str, Buffer] = {}
    for name, array in given.items():
        strides = [stride // array.itemsize for stride in array.strides]
        named[f"{name}_shape"] = np.array(array.shape, np.int32)
        named[f"{name}_strides"] = np.array(strides, np.int64)
        named[f"{name}_ndim"] = np.array(array.ndim, np.int32)
    named.update(given)
    named.update(written)
    kernel = cuda_text(captured.source)
    return Launch(
        captured.name,
        kernel,
        lane_map,
        tuple(threads // group for threads, group in sizes),
        captured.threadgroup,
        tuple(named[name] for name in kernel.buffers),
        tuple(name in written for name in kernel.buffers),
    )
