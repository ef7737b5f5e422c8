"""Results that survive between runs, each in a file that is named by the hash of all that went into it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Files that no test has used for a month.
_KEPT_S = 30 * 24 * 3600


def cache_folder() -> Path:
    """Where compiled kernels are kept: $MLX_TINY_EMULATOR_CACHE, else below the user's cache."""
    given = os.environ.get("MLX_TINY_EMULATOR_CACHE")
    folder = Path(given) if given else Path.home() / ".cache" / "mlx_tiny" / "emulator"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(*parts: str) -> str:
    """32 hexadecimal digits that stand for the parts."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode() + b"\0")
    return found.hexdigest()[:32]


@functools.cache
def sources() -> str:
    """The digest of all that decides which kernels the tests launch."""
    files = [path for folder in ("kernels", "mlx_tiny", "tests") for path in sorted((ROOT / folder).rglob("*.*"))]
    return digest(*(path.read_text(errors="replace") for path in files if path.suffix in (".py", ".metal", ".h")))


def find(name: str) -> Path | None:
    """The file of this name, unless nobody has made it yet."""
    path = cache_folder() / name
    try:
        os.utime(path)
    except FileNotFoundError:
        return None
    return path


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder for files on their way; a finished one moves to its place in one step: others may build the same."""
    _forget_old(cache_folder())
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        yield Path(folder)


def keep(name: str, content: bytes) -> None:
    """Write a file in one step."""
    with workplace() as folder:
        (folder / name).write_bytes(content)
        (folder / name).replace(cache_folder() / name)


@functools.cache
def _forget_old(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _KEPT_S and path.is_file():
                path.unlink()
