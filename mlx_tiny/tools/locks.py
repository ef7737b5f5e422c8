"""A lock for what only one process may write at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from mlx_tiny.errors import TinyError
from mlx_tiny.files import explained

_MOMENT_S = 0.05


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
        if not any(_taken(descriptor, fcntl.LOCK_EX) for _ in _times()):
            raise TinyError(failed, remedy="Wait for it, or stop it")
        yield
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process has the lock of a folder.

    Raises:
        TinyError: the folder is missing or cannot be read.
    """
    with explained(path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return not _taken(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _times() -> Iterator[None]:
    """When to ask for a lock: twice, because `is_locked` takes it for a moment."""
    yield
    time.sleep(_MOMENT_S)
    yield
