"""Kernels of MLX itself, read from the installed wheel, as text for a header."""

from __future__ import annotations

import re
from pathlib import Path

import mlx.core as mx

_INCLUDE = re.compile(r'^#include ([<"])(?P<path>[^>"]+)[>"]\n', re.MULTILINE)
_CONSTANT = re.compile(r"constant (\w+) (\w+) \[\[function_constant\(\d+\)\]\];")


def include_folder() -> Path:
    """The wheel's folder of headers."""
    return Path(mx.__file__).parent / "include"


def flat_text(path: str, constants: dict[str, str]) -> str:
    """A file with its includes in place, each once.

    Args:
        path: below `mlx/backend/metal/kernels`.
        constants: values of the function constants, which MLX sets when it builds a pipeline; others are 0.
    """
    text = _with_includes(f"mlx/backend/metal/kernels/{path}", set())
    # With one address space these four are one.
    for space in ("device", "constant", "threadgroup"):
        text = re.sub(
            rf"template <typename T>\nstruct pointer_element<{space} T\*> {{\n.*?\n}};\n", "", text, flags=re.DOTALL
        )
    text = _CONSTANT.sub(
        lambda found: f"constant constexpr {found[1]} {found[2]} = {constants.get(found[2], '0')};", text
    )
    text = re.sub(r" \[\[threadgroup\(\d\)\]\]", "", text)
    return _limits() + text.encode("ascii", "ignore").decode()


def _with_includes(path: str, seen: set[str]) -> str:
    if path in seen:
        return ""
    seen.add(path)
    text = (include_folder() / path).read_text()
    # The standard library is the emulator's.
    return _INCLUDE.sub(lambda found: "" if found[1] == "<" else _with_includes(found["path"], seen) + "\n", text)


def _limits() -> str:
    """The part of MLX's `utils.h`, which it puts in front of each kernel, that its attention needs."""
    text = (include_folder() / "mlx/backend/metal/kernels/utils.h").read_text()
    return text[text.index("template <typename U>\nstruct Limits {") : text.index("template <>\nstruct Limits<bool>")]
