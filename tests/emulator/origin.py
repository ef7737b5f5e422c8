"""Which line of which file of the project a line of the captured source is."""

from __future__ import annotations

import functools
from collections.abc import Callable

from mlx_tiny.ops.metal import kernel_folder


def places(name: str, source: str, body: str) -> Callable[[int], str]:
    """A function from lines of the captured source, counted from 1, to their names for a reader.

    Args:
        name: of the kernel.
        source: as MLX generated it: the header, a signature, the body, an instantiation.
        body: as the user gave it.
    """

    def place(line: int) -> str:
        if line < 1:
            return f"kernel {name}"
        for text, path, first in _pieces(name, source, body):
            start = source.count("\n", 0, source.find(text)) + 1
            if start <= line < start + text.count("\n"):
                return f"{path}{line - start + first}"
        return f"header of {name}, line {line}"

    return place


@functools.lru_cache(maxsize=256)
def _pieces(name: str, source: str, body: str) -> list[tuple[str, str, int]]:
    """What the source is made of: text, its name, and the number of its first line there."""
    pieces = [(text, f"kernels/{path}:", 1) for path, text in _project_text(".h") if text in source]
    for path, text in _project_text(".metal"):
        if body.strip() and text.endswith(body):
            # The lines before the body name the headers.
            return [*pieces, (body, f"kernels/{path}:", text.count("\n") - body.count("\n") + 1)]
    # MLX puts a line break behind the body, which may have no last one.
    return [*pieces, (body + "\n", f"body of {name}, line ", 1)]


def _project_text(suffix: str) -> list[tuple[str, str]]:
    return [(path.name, path.read_text()) for path in sorted(kernel_folder().iterdir()) if path.suffix == suffix]
