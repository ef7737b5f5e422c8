"""Writes files and folders that are either complete or absent: write under another name, fsync, rename."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import math
import os
import shutil
import socket
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlx_tiny.errors import UNPRINTABLE, TinyError

HASH_BLOCK_BYTES = 1 << 20
CHECKSUM = "checksum"
"""Name of the checksum of a file of arrays among its texts."""
MOST_JSON_BYTES = 8 << 20
"""Of a file of settings or results: ours have less than 1 MB, and Python needs up to 30 times as much to read one."""
MOST_JSON_LEVELS = 32
"""Of lists and objects within each other; ours have 8."""


def cache_home() -> Path:
    """Folder of prepared data and tokenizers: `$MLX_TINY_HOME` or `~/.cache/mlx_tiny`."""
    return expanded(os.environ.get("MLX_TINY_HOME") or str(Path("~", ".cache", "mlx_tiny")))


def expanded(name: str) -> Path:
    """The path of a name that may begin with `~` or `~user`.

    Raises:
        TinyError: there is no such user, or this one has no home.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise TinyError(f"The home folder in {name} is not known", remedy="Write the whole path") from error


def make_folder(path: Path) -> Path:
    """Create `path` with its parents; TinyError where that fails."""
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[Any]:
    """Open a file that replaces `path` only when the block ends without an exception.

    The bytes are on disk before the rename, and the rename before the return. After a crash at any moment `path`
    has either its complete old content or its complete new content. Who writes it next removes what the crash has left.

    Raises:
        TinyError: no space, no permission, or another error of the file system.
    """
    encoding = None if "b" in mode else "utf-8"
    with explained(path):
        remove_leftovers(path.parent, glob.escape(path.name))
        descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=_prefix_aside(path))
        try:
            with os.fdopen(descriptor, mode, encoding=encoding) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(aside, 0o666 & ~_umask())
            os.replace(aside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `path` only when the block ends without an exception.

    If another process has put a folder there meanwhile, that one stays and this one is dropped: folders are named by a
    hash of their content, so the two are equal.
    """
    make_folder(path.parent)
    with explained(path):
        aside = folder_aside(path)
        try:
            yield aside
            for file in aside.iterdir():
                sync_file(file)
            sync_folder(aside)
            os.chmod(aside, 0o777 & ~_umask())
            try:
                os.rename(aside, path)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                shutil.rmtree(aside)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_folder(path.parent)


def discard_folder(path: Path) -> None:
    """Delete the folder `path` if it exists; it is renamed first, so that no process sees it half deleted."""
    with explained(path):
        if path.exists():
            aside = folder_aside(path)
            os.rename(path, aside / path.name)
            shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(parent: Path, names: str = "*") -> None:
    """Delete what `atomic_write` and `atomic_folder` left in `parent` when their process was killed on this machine.

    Args:
        names: a pattern of the names that they were to have.
    """
    for aside in parent.glob(f".{names}.{_machine_mark()}-*.*"):
        process = aside.name.rsplit(".", 2)[-2].rpartition("-")[2]
        if process.isdecimal() and not _is_running(int(process)):
            if aside.is_dir():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    aside.unlink()


def folder_aside(path: Path) -> Path:
    """A fresh hidden folder beside `path`, which `remove_leftovers` deletes when this process has ended."""
    return Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix_aside(path)))


def _prefix_aside(path: Path) -> str:
    """Beginning of the hidden name under which this process on this machine writes `path`."""
    return f".{path.name}.{_machine_mark()}-{os.getpid()}."


def _machine_mark() -> str:
    return hash_text(socket.gethostname())[:8]


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def sync_file(path: Path) -> None:
    """Force the content of the file `path` to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Force the entries of the folder `path` to disk, where the system can."""
    with contextlib.suppress(OSError):
        sync_file(path)


def require_writable(*paths: Path | None) -> None:
    """Check that these files can be written later; None stands for no file.

    Raises:
        TinyError: one is a folder or not an ordinary file, or its folder is missing or cannot be written.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise TinyError(f"{path} is a folder", expected="the name of a file", remedy="Name a file in it")
        if path.exists() and not path.is_file():
            raise TinyError(f"{path} is not an ordinary file, and would be replaced by one", remedy="Name another file")
        with explained(path.parent):
            next(path.parent.iterdir(), None)
        try:
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise TinyError(
                f"{path} cannot be written",
                got=error.strerror or error,
                remedy="Name a file in another folder, or change the permissions of this one",
            ) from error


def spelled(json_text: str) -> str:
    """The same JSON with escapes in place of what a terminal would obey, and of surrogates, which no file can have."""
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    with atomic_write(path, "w") as file:
        file.write(spelled(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object that anyone may have written; errors call it `what`, such as "run configuration".

    Raises:
        TinyError: no ordinary file, larger than `MOST_JSON_BYTES`, or one of the errors of `parse_json`.
    """
    content = read_whole(path, what, MOST_JSON_BYTES)
    try:
        value = parse_json(content)
    except ValueError as error:
        raise TinyError(f"The {what} at {path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise TinyError(
            f"The {what} at {path} is malformed",
            expected="a JSON object",
            got=type(value).__name__,
        )
    return value


def parse_json(text: str | bytes) -> Any:
    """Decode JSON that anyone may have written.

    Raises:
        ValueError: no JSON in UTF-8, a key that occurs twice in an object, a number that is not finite, or more than
            `MOST_JSON_LEVELS` levels of lists and objects.
    """
    if isinstance(text, bytes):
        text = text.decode()
    too_deep = f"more than {MOST_JSON_LEVELS} levels of lists and objects"
    try:
        value = json.loads(
            text, object_pairs_hook=unique_keys, parse_constant=_finite_number, parse_float=_finite_number
        )
    except RecursionError:
        raise ValueError(too_deep) from None
    level = [value]
    for _ in range(MOST_JSON_LEVELS + 1):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _values_in(outer)]
    if level:
        raise ValueError(too_deep)
    return value


def _values_in(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; ValueError where a key occurs twice, since one of the values would be lost."""
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"the key {next(name for name in counts if counts[name] > 1)!r} twice in one object")
    return value


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def require_ordinary(path: Path, what: str, remedy: str | None = None) -> None:
    """Check that `path` is a file that can be read to its end; a pipe or a device may give nothing for ever.

    Raises:
        TinyError: there is none, with the remedy, or it is something else.
    """
    with explained(path):
        if not path.exists():
            raise TinyError(f"No {what} at {path}", remedy=remedy)
        if not path.is_file():
            raise TinyError(f"The {what} {path} is not an ordinary file", remedy="Restore it from a copy")


def read_whole(path: Path, what: str, most_bytes: int) -> bytes:
    """The content of a file that anyone may have written; errors call it `what`.

    Raises:
        TinyError: no ordinary file, larger than `most_bytes`, or not readable.
    """
    require_ordinary(path, what)
    with explained(path), open(path, "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise TinyError(
            f"The {what} at {path} is too large",
            expected=f"at most {most_bytes:,} bytes",
            remedy="Restore it from a copy",
        )
    return content


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits; OSError where it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def checksum(arrays: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    """CRC-32 of named arrays and texts, in any order, as 8 hexadecimal digits: it finds damage, but no forgery.

    Args:
        arrays: contiguous, of any type that gives its bytes; names, shapes and types are checked elsewhere.
        texts: without the checksum itself.
    """
    value = 0
    for name in sorted(texts.keys() - {CHECKSUM}):
        value = zlib.crc32(f"{name}\0{texts[name]}\0".encode(), value)
    for name in sorted(arrays):
        value = zlib.crc32(arrays[name], zlib.crc32(f"{name}\0".encode(), value))
    return f"{value:08x}"


def hash_text(*parts: object) -> str:
    """SHA-256 of the parts with separators, so that ("ab", "c") and ("a", "bc") differ."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).hexdigest()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of the file system inside the block into a TinyError with a remedy."""
    try:
        yield
    except OSError as error:
        explain = _REFUSALS.get(error.errno or 0)
        if explain is None:
            raise TinyError(f"{path} failed: {error.strerror or error}") from error
        raise explain(path) from error


def _no_space(path: Path) -> TinyError:
    return TinyError(
        f"The disk is full: {path} could not be written; what was there before is untouched",
        remedy="Free some space, or name a folder on another disk (--run, or MLX_TINY_HOME for the cache)",
    )


def _too_large(path: Path) -> TinyError:
    return TinyError(
        f"The file {path} could not be written: it is larger than files may be; what was there before is untouched",
        remedy="Raise the limit (`ulimit -f` shows it), or name a folder on a disk with a file system that allows more",
    )


def _no_permission(path: Path) -> TinyError:
    return TinyError(
        f"No permission for {path}",
        remedy="Name a folder that you may write (--run, or MLX_TINY_HOME for the cache), or change its permissions",
    )


def _missing(path: Path) -> TinyError:
    return TinyError(f"{path} does not exist", remedy="Check the path")


def _in_the_way(path: Path) -> TinyError:
    return TinyError(f"{path} cannot be created, because a file of that name exists", remedy="Name another folder")


def _too_long(path: Path) -> TinyError:
    return TinyError(f"The name {path} is too long for the file system", remedy="Choose a shorter one")


_REFUSALS: dict[int, Callable[[Path], TinyError]] = {
    errno.ENOSPC: _no_space,
    errno.EDQUOT: _no_space,
    errno.EFBIG: _too_large,
    errno.EACCES: _no_permission,
    errno.EPERM: _no_permission,
    errno.EROFS: _no_permission,
    errno.ENOENT: _missing,
    errno.EEXIST: _in_the_way,
    errno.ENOTDIR: _in_the_way,
    errno.ENAMETOOLONG: _too_long,
}


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
