"""Writes a model as one GGUF file, for llama.cpp."""

from __future__ import annotations

from pathlib import Path

from mlx_tiny.errors import TinyError
from mlx_tiny.export.model import Export


def write(export: Export, path: Path) -> None:
    """Write the file `path`, whose folder exists."""
    raise TinyError("GGUF cannot be written yet")
