"""The text that MLX itself generates for a kernel, got by tracing an export: that works on any machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx


@dataclass(frozen=True)
class Captured:
    """A launch as MLX would make it.

    Args:
        name: as given by the user.
        source: the whole text for Metal's compiler, but for MLX's own `utils.h` in front.
        grid: threads along x, y and z.
        threadgroup: threads along x, y and z.
    """

    name: str
    source: str
    grid: tuple[int, int, int]
    threadgroup: tuple[int, int, int]


def capture(
    kernel: Callable[..., list[mx.array]], name: str, inputs: Sequence[mx.array], arguments: dict[str, Any]
) -> Captured:
    """Trace one call of a kernel of `mx.fast.metal_kernel`.

    Args:
        kernel: what `mx.fast.metal_kernel` returned.
        name: as given to it.
        inputs: of the call; only shapes and dtypes matter.
        arguments: the call's other arguments.
    """
    found: list[dict[str, Any]] = []

    def keep(step: dict[str, Any]) -> None:
        if step["type"] == "primitive" and step["name"] == "CustomKernel":
            found.append(step)

    mx.export_function(keep, lambda *arrays: kernel(inputs=list(arrays), **arguments), *inputs)
    _, source, *sizes = found[0]["arguments"][:8]
    return Captured(name, source, tuple(sizes[:3]), tuple(sizes[3:]))
