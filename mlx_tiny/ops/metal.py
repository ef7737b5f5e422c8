"""The Metal kernels of this project: finds their code, launches them, and says whether they can run."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import on_cpu

Shape = tuple[int, ...]
_INCLUDE = re.compile(r'\s*#include "(?P<name>[\w.]+)"\s*')


@dataclass(frozen=True)
class KernelText:
    """The code of a kernel for MLX: helpers in `header`, and the statements of the kernel in `body`."""

    name: str
    header: str
    body: str


def kernel_folder() -> Path:
    """The folder of the Metal code: inside an installed package, or beside the package in a checkout.

    Raises:
        TinyError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "kernels", package.parent / "kernels"):
        if folder.is_dir():
            return folder
    raise TinyError(
        "The Metal kernels are missing from this installation",
        expected=f"a folder {package / 'kernels'}",
        remedy="Install mlx-tiny again",
    )


def kernel_names() -> list[str]:
    """Names of all kernels, sorted."""
    return sorted(path.stem for path in kernel_folder().glob("*.metal"))


@functools.cache
def kernel_text(name: str) -> KernelText:
    """Read `kernels/NAME.metal`: the first lines, `#include "file.h"`, name the headers; the rest is the body.

    Raises:
        TinyError: no such file.
    """
    lines = _read(f"{name}.metal").splitlines(keepends=True)
    headers = []
    while lines and ((include := _INCLUDE.fullmatch(lines[0])) or not lines[0].strip()):
        if include:
            headers.append(_read(include["name"]))
        del lines[0]
    return KernelText(name, "".join(headers), "".join(lines))


def _read(name: str) -> str:
    try:
        return (kernel_folder() / name).read_text(encoding="ascii")
    except FileNotFoundError:
        raise TinyError(
            f"There is no kernel file {name!r}",
            expected=f"one of {', '.join(sorted(path.name for path in kernel_folder().iterdir()))}",
            remedy="Install mlx-tiny again",
        ) from None


@dataclass(frozen=True)
class MetalKernel:
    """The kernel `kernels/NAME.metal` with the names of its inputs and outputs; call it to launch it."""

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
            inputs: one array per name.
            template: the kernel's template arguments.
            threadgroups: how many along x, y and z.
            threads: per threadgroup, a multiple of 32, all along x.
            outputs: shape and dtype per name.
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
    """Why Metal kernels cannot run here; None if they can."""
    if not mx.metal.is_available():
        return "this machine has no Metal GPU"
    if on_cpu():
        return "MLX's default device is the CPU"
    return None
