"""A lock for what only one process may write at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from mlx_tiny.errors import TinyError
from mlx_tiny.files import explained


@contextlib.contextmanager
def locked(path: Path, failed: str) -> Iterator[None]:
    """Lock a folder or a file for this process inside the block; a missing file is made, and stays.

    Args:
        path: not a file that is replaced, which would take its lock along.
        failed: what it means that another process has the lock.

    Raises:
        TinyError: another process has it.
    """
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TinyError(failed, remedy="Wait for it, or stop it") from None
        yield
    finally:
        os.close(descriptor)
