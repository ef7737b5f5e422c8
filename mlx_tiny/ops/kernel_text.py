"""Where the Metal text lies, and how a file becomes what `mx.fast.metal_kernel` takes: a header and a body."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from mlx_tiny.errors import TinyError

_INCLUDE = re.compile(r'\s*#include "(?P<name>[\w.]+)"\s*')


@dataclass(frozen=True)
class KernelText:
    """A kernel as MLX takes it: `header` holds helpers, `body` the statements of the kernel function."""

    name: str
    header: str
    body: str


def kernel_folder() -> Path:
    """The folder of the Metal text: inside an installed package, beside it in a checkout.

    Raises:
        TinyError: in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "kernels", package.parent / "kernels"):
        if folder.is_dir():
            return folder
    raise TinyError(
        "The Metal kernels are missing from this installation",
        expected=f"a folder {package / 'kernels'}",
        remedy="Install mlx-tiny anew",
    )


def kernel_names() -> list[str]:
    """All kernels, in alphabetical order."""
    return sorted(path.stem for path in kernel_folder().glob("*.metal"))


@functools.cache
def kernel_text(name: str) -> KernelText:
    """Read `kernels/NAME.metal`: lines `#include "file.h"` at its top name the headers, the rest is the body.

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
            remedy="Install mlx-tiny anew",
        ) from None
