"""A folder for the files of a measurement, which outlives no later one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mlx_tiny.files import folder_aside, remove_leftovers

_NAME = "mlx_tiny_bench"


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """An empty folder for the block; those whose processes were killed are removed before."""
    parent = Path(tempfile.gettempdir())
    remove_leftovers(parent, _NAME)
    folder = folder_aside(parent / _NAME)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
