"""How the project's Metal kernels are launched, and whether they can be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlx_tiny.linux.lanes import on_cpu
from mlx_tiny.ops.kernel_text import kernel_text

Shape = tuple[int, ...]


@dataclass(frozen=True)
class MetalKernel:
    """The text `kernels/NAME.metal` bound to the names of its inputs and outputs; call it to launch it."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __call__(
        self,
        inputs: Sequence[mx.array],
        *,
        template: dict[str, int | bool | mx.Dtype],
        threadgroups: tuple[int, int, int],
        threads: int,
        outputs: Sequence[tuple[Shape, mx.Dtype]],
    ) -> list[mx.array]:
        """Build one launch; inputs that are not row-contiguous are copied first.

        Args:
            inputs: one array a name.
            template: the kernel's template arguments.
            threadgroups: how many along x, y and z.
            threads: in each threadgroup, a multiple of 32, all along x.
            outputs: shape and dtype, one a name.
        """
        kernel = _bound(mx.fast.metal_kernel, self.name, self.inputs, self.outputs)
        x, y, z = threadgroups
        results: list[mx.array] = kernel(
            inputs=list(inputs),
            template=list(template.items()),
            # MLX counts the threads of the grid, not its threadgroups.
            grid=(x * threads, y, z),
            threadgroup=(threads, 1, 1),
            output_shapes=[shape for shape, _ in outputs],
            output_dtypes=[dtype for _, dtype in outputs],
        )
        return results


@functools.cache
def _bound(
    metal_kernel: Callable[..., Any], name: str, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> Callable[..., Any]:
    text = kernel_text(name)
    kernel: Callable[..., Any] = metal_kernel(
        name=name, input_names=list(inputs), output_names=list(outputs), source=text.body, header=text.header
    )
    return kernel


def why_not_metal() -> str | None:
    """Why no Metal kernel can run here, or None where they can."""
    if not mx.metal.is_available():
        return "this machine has no Metal GPU"
    if on_cpu():
        return "MLX's default device is the CPU"
    return None
