"""In place of `mx.fast.metal_kernel`: the project's own wrappers run, and the emulator runs their kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np

from mlx_tiny.ops import metal

from .capture import Captured, capture
from .executor import Mode, execute
from .lane_maps import with_other_lane_map
from .origin import places

Entry = tuple[str, tuple[int, ...], mx.Dtype]


@dataclass(frozen=True)
class LaunchRecord:
    """A launch that was run.

    Args:
        name: of the kernel, as given to `mx.fast.metal_kernel`.
        source: the text that MLX generates.
        grid: threads along x, y and z.
        threadgroup: threads along x, y and z.
        inputs: name, shape and dtype of each.
        outputs: the same.
    """

    name: str
    source: str
    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]
    inputs: list[Entry]
    outputs: list[Entry]


@contextlib.contextmanager
def emulated_metal(
    checking: bool = False, lane_map: str = "apple", guarded: bool = True, run: Callable[..., object] | None = None
) -> Iterator[list[LaunchRecord]]:
    """Inside, kernels of `mx.fast.metal_kernel` run on the CPU, also under `mx.value_and_grad`, not under `mx.compile`.

    Args:
        checking: watch every access; what is wrong raises `KernelFault`.
        lane_map: where an 8x8 matrix keeps its elements: `apple`, or `other`, under which no result may change.
        guarded: accesses beyond a buffer raise `KernelFault` without `checking`, too; a GPU may let them pass.
        run: in place of the emulator's `execute`.

    Yields:
        The list of launches, which grows as they are made.
    """
    mode = Mode(checking, lane_map, guarded)
    launches: list[LaunchRecord] = []
    real: Any = mx.fast.metal_kernel

    def metal_kernel(
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
        ensure_row_contiguous: bool = True,
        atomic_outputs: bool = False,
        compile_options: object | None = None,
    ) -> EmulatedKernel:
        if not ensure_row_contiguous:
            raise NotImplementedError("the emulator takes ensure_row_contiguous=True only")
        kernel = real(name, input_names, output_names, source, header, True, atomic_outputs)
        return EmulatedKernel(
            kernel, name, list(input_names), list(output_names), source, mode, launches, run or execute
        )

    with (
        mock.patch.object(mx.fast, "metal_kernel", metal_kernel),
        mock.patch.object(metal, "why_not_metal", return_value=None),
    ):
        yield launches


@dataclass
class EmulatedKernel:
    """What the stand-in returns: called as MLX's own kernels are."""

    kernel: Callable[..., Any]
    name: str
    input_names: list[str]
    output_names: list[str]
    body: str
    mode: Mode
    launches: list[LaunchRecord]
    run: Callable[..., object]
    captured: dict[Any, Captured] = field(default_factory=dict)

    def __call__(
        self,
        *,
        inputs: Sequence[Any],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[mx.Dtype],
        grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int],
        template: Sequence[tuple[str, Any]] | None = None,
        init_value: float | None = None,
        verbose: bool = False,
        stream: Any = None,
    ) -> list[mx.array]:
        """Evaluate the inputs, run the kernel, return its outputs; as `mx.fast.metal_kernel`'s result does.

        Raises:
            KernelFault: what the kernel did wrong.
        """
        arrays = [value if isinstance(value, mx.array) else mx.array(value) for value in inputs]
        shapes = [tuple(shape) for shape in output_shapes]
        arguments: dict[str, Any] = {
            "output_shapes": shapes,
            "output_dtypes": list(output_dtypes),
            "grid": tuple(grid),
            "threadgroup": tuple(threadgroup),
            "template": list(template) if template else None,
        }
        launch = self._captured(arrays, arguments)
        self.launches.append(
            LaunchRecord(
                self.name,
                launch.source,
                launch.grid,
                launch.threadgroup,
                [(name, a.shape, a.dtype) for name, a in zip(self.input_names, arrays, strict=True)],
                list(zip(self.output_names, shapes, output_dtypes, strict=True)),
            )
        )
        given = {name: to_numpy(array) for name, array in zip(self.input_names, arrays, strict=True)}
        empty = [_fresh(shape, dtype, init_value) for shape, dtype in zip(shapes, output_dtypes, strict=True)]
        written = dict(zip(self.output_names, empty, strict=True))
        place = places(self.name, launch.source, self.body)
        if self.mode.lane_map == "other":
            launch = with_other_lane_map(launch)
        self.run(launch, given, written, initialised=init_value is not None, mode=self.mode, place=place)
        return [to_mlx(array, dtype) for array, dtype in zip(empty, output_dtypes, strict=True)]

    def _captured(self, arrays: Sequence[mx.array], arguments: dict[str, Any]) -> Captured:
        key = (tuple((a.shape, a.dtype) for a in arrays), repr(arguments))
        if key not in self.captured:
            self.captured[key] = capture(self.kernel, self.name, arrays, arguments)
        return self.captured[key]


def to_numpy(array: mx.array) -> np.ndarray:
    """A C-contiguous copy; bfloat16 as its bits, in uint16."""
    return np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array, order="C")


def to_mlx(array: np.ndarray, dtype: mx.Dtype) -> mx.array:
    """The way back."""
    return mx.array(array).view(mx.bfloat16) if dtype == mx.bfloat16 else mx.array(array)


def _fresh(shape: tuple[int, ...], dtype: mx.Dtype, init_value: float | None) -> np.ndarray:
    """An output before the launch: its initial value, or bytes that are a NaN, or an unlikely integer."""
    if init_value is not None:
        return to_numpy(mx.full(shape, init_value, dtype))
    array = to_numpy(mx.zeros(shape, dtype))
    odd = 0xFF if mx.issubdtype(dtype, mx.floating) else 0xA5
    return np.frombuffer(bytearray([odd]) * array.nbytes, array.dtype).reshape(shape)
