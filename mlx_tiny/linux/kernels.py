"""Where MLX's CPU kernels are: a private folder of each process, with links to libraries that are known to be whole.

MLX compiles a kernel by g++ into `$TMPDIR/mlx/VERSION/cpu`, and loads what has its name there, whoever put it there and
whether it is whole. So `give_private_folder` sets TMPDIR, for MLX alone, to a folder of this process (a *session*)
below the cache home. At its end the libraries that MLX has loaded are kept as a *set*: a folder named by the hash of
what it contains, which the next session checks before it links them.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.files import (
    atomic_folder,
    atomic_write,
    cache_home,
    discard_folder,
    folder_aside,
    hash_file,
    hash_text,
    make_folder,
    remove_leftovers,
)
from mlx_tiny.machine.hardware import instruction_sets
from mlx_tiny.tools.processes import environment

INCLUDED = Path(mx.__file__).parent / "include"
HEADER = "mlx/backend/cpu/compiled_preamble.h"
"""What each kernel includes; g++ first looks for it, and for its compiled form, beside the kernel's text."""
# MLX's own; with others g++ would pass over the compiled header.
_FLAGS = ("-std=c++17", "-O3", "-Wall", "-fPIC")
_GUARD = Path(__file__).with_name("guard.py")
# MLX puts the folder's path between double quotes of a shell.
_SPECIAL = set('"$`\\\n')


class _Session:
    """The folder that MLX uses in this process.

    Args:
        store: folder of the kept sets and of the sessions; None where nothing can be kept.
    """

    def __init__(self, store: Path | None) -> None:
        self.store, self._process = store, os.getpid()
        parent = store if store and not _SPECIAL & set(str(store)) else _temporary_folder()
        remove_leftovers(parent)
        self.folder = folder_aside(parent / "kernels")
        self.libraries = self.folder / "mlx" / version("mlx") / "cpu"
        self.libraries.mkdir(parents=True)
        # Should this process be killed, this program ends the compilers that it leaves, and removes the folder.
        command = [sys.executable, "-I", "-S", str(_GUARD), str(self.folder)]
        silent = subprocess.DEVNULL
        self._guard = subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=silent, stderr=silent, start_new_session=True
        )
        atexit.register(self.close)

    def link_kept(self) -> None:
        """Link the libraries of the kept sets; a set that is not what its name says is removed."""
        for kept in sorted(self.store.iterdir()) if self.store else ():
            if kept.name.startswith("."):
                continue
            if _name_of_set(files_of(kept)) != kept.name:
                discard_folder(kept)
                continue
            for library in kept.iterdir():
                with contextlib.suppress(FileExistsError):
                    (self.libraries / library.name).symlink_to(library)

    def is_gone(self) -> bool:
        """Whether someone has removed the folder, with the whole cache for example."""
        with contextlib.suppress(PermissionError):
            return not self.libraries.exists()
        return False

    def close(self) -> None:
        """Keep what is new, and remove the folder."""
        if os.getpid() != self._process:  # a fork of the process that the folder belongs to
            return
        with contextlib.suppress(TinyError, OSError):  # such as a full disk: the next process compiles again
            self._keep()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def _keep(self) -> None:
        """Keep the libraries that MLX has compiled and loaded."""
        new = [path for path in self.libraries.glob("lib*.so") if not path.is_symlink() and _is_loaded(path)]
        if self.store and new:
            with atomic_folder(self.store / _name_of_set(new)) as kept:
                for library in new:
                    shutil.copyfile(library, kept / library.name)


_lock = threading.RLock()
_session: _Session | None = None
_not_kept: str | None = None
_uses = 0


def give_private_folder() -> None:
    """Make MLX compile and load kernels in a private folder, in this process and not in those that it starts.

    Raises:
        TinyError, OSError: there can be no such folder.
    """
    global _session, _not_kept
    with _lock:
        if _session is None or _session.is_gone():
            try:
                _session = _Session(private_store())
                _session.link_kept()
            except (TinyError, OSError) as error:
                _not_kept = first_line(error)
                _session = _Session(None)
        # Not in os.environ, from which Python and child processes have the user's.
        os.putenv("TMPDIR", str(_session.folder))


@contextlib.contextmanager
def private_folder() -> Iterator[None]:
    """Whatever is computed inside the block, the process has its own TMPDIR again after it."""
    global _uses
    with _lock:
        _uses += 1
        if _session is not None:
            give_private_folder()
    try:
        yield
    finally:
        with _lock:
            _uses -= 1
            if not _uses:
                if "TMPDIR" in os.environ:
                    os.putenv("TMPDIR", os.environ["TMPDIR"])
                else:
                    os.unsetenv("TMPDIR")


def link_kept() -> None:
    """Show MLX what other processes have kept since this one began."""
    give_private_folder()
    assert _session is not None
    with contextlib.suppress(TinyError, OSError):
        _session.link_kept()


def own_folder() -> Path:
    """The private folder of this process: compilers with its path in their command line are ended with the process."""
    give_private_folder()
    assert _session is not None
    return _session.folder


def count() -> int:
    """How many libraries MLX has in this process."""
    give_private_folder()
    assert _session is not None
    return len(list(_session.libraries.glob("lib*.so")))


def count_of(process: int) -> int:
    """How many libraries another process of this user has compiled so far."""
    assert _session is not None
    found = _session.folder.parent.glob(f".*-{process}.*/mlx/*/cpu/lib*.so")
    return sum(not path.is_symlink() for path in found)


def note_needed(key: str) -> None:
    """Note that what `key` names needs the libraries that this process has loaded.

    Raises:
        TinyError, OSError: the note cannot be written.
    """
    if (path := _note(key)) is not None:
        assert _session is not None
        names = sorted(library.name for library in _session.libraries.glob("lib*.so") if _is_loaded(library))
        make_folder(path.parent)
        with atomic_write(path, "w") as file:
            file.write("\n".join(names))


def has_needed(key: str) -> bool:
    """Whether it was noted what `key` needs, and MLX has all of it in this process."""
    give_private_folder()
    path = _note(key)
    if path is None or not path.exists():
        return False
    assert _session is not None
    return all((_session.libraries / name).exists() for name in path.read_text().splitlines())


def _note(key: str) -> Path | None:
    """The file of a note, beside the kept sets; None where nothing can be kept."""
    store = _session.store if _session else None
    return None if store is None else store.with_name(f"{store.name}.needed") / hash_text(key)[:32]


def why_not_kept() -> str | None:
    """Why each process has to compile its kernels anew, or None where they are kept."""
    return _not_kept


def compile_header(target: Path | None = None) -> None:
    """Compile the header of all kernels, so that a kernel takes a fifth of its time.

    Args:
        target: where to; by default where the g++ of this process finds it.

    Raises:
        OSError, subprocess.SubprocessError: it cannot be compiled; kernels then take their usual time.
    """
    if target is None:
        give_private_folder()
        assert _session is not None
        target = _session.libraries / f"{HEADER}.gch"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder, target.name)
        header = [f"-I{INCLUDED}", "-x", "c++-header", str(INCLUDED / HEADER), "-o", str(built)]
        changes = environment(TMPDIR=folder)
        subprocess.run(["g++", *_FLAGS, *header], check=True, capture_output=True, env=changes)
        os.replace(built, target)


def private_store() -> Path:
    """The folder of the kept sets for this MLX, compiler and CPU, in which nobody else can have put anything.

    A g++ may be one that compiles for the CPU that it runs on, and a home may be shared by machines with others.

    Raises:
        TinyError, OSError: there can be none.
    """
    home = make_folder(cache_home()).resolve()
    _require_trusted(home, *home.parents)
    parent = home / "cpu_kernels"
    with contextlib.suppress(FileExistsError):
        parent.mkdir(mode=0o700)
    _require_trusted(parent)
    parent.chmod(0o700)
    if os.statvfs(parent).f_flag & getattr(os, "ST_NOEXEC", 0):
        raise TinyError(f"Nothing in {parent} may be executed (noexec)")
    compiler = shutil.which("g++")
    made_by: tuple[object, ...] = ()
    if compiler is not None:
        found = os.stat(compiler)
        made_by = (os.path.realpath(compiler), found.st_size, found.st_mtime_ns)
    key = hash_text(version("mlx"), INCLUDED, made_by, os.uname().machine, instruction_sets())
    store = parent / key[:16]
    store.mkdir(exist_ok=True)
    return store


def _temporary_folder() -> Path:
    """The process's folder for temporary files, or the system's where other users could change what is in that."""
    folder = Path(tempfile.gettempdir()).resolve()
    try:
        _require_trusted(folder, *folder.parents)
    except (TinyError, OSError):
        return Path("/tmp")
    return Path("/tmp") if _SPECIAL & set(str(folder)) else folder


def _require_trusted(*folders: Path) -> None:
    """Raise a TinyError where another user could put something else in the place of what is in one of the folders."""
    for folder in folders:
        found = os.lstat(folder)
        if not stat.S_ISDIR(found.st_mode):
            raise TinyError(f"{folder} is not a folder")
        if found.st_uid not in (0, os.geteuid()):
            raise TinyError(f"{folder} belongs to another user")
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX and not _is_of_own_group(found):
            raise TinyError(f"other users may write in {folder}")


def _is_of_own_group(found: os.stat_result) -> bool:
    """Whether nobody but a group may write, which has the user's name: on many systems each user has such a group."""
    import grp
    import pwd

    with contextlib.suppress(KeyError):
        same = grp.getgrgid(found.st_gid).gr_name == pwd.getpwuid(found.st_uid).pw_name
        return same and not found.st_mode & 0o002
    return False


def files_of(kept: Path) -> list[Path]:
    """The files of a set; none if there is anything else in it."""
    found = list(kept.iterdir()) if stat.S_ISDIR(os.lstat(kept).st_mode) else []
    return found if all(stat.S_ISREG(os.lstat(path).st_mode) for path in found) else []


def _name_of_set(libraries: list[Path]) -> str:
    """The name of a set of these libraries."""
    return hash_text(*((path.name, hash_file(path)) for path in sorted(libraries, key=lambda path: path.name)))[:32]


def _is_loaded(library: Path) -> bool:
    """Whether this process uses a library; a killed compiler may have left half of one."""
    try:
        ctypes.CDLL(str(library), mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    return True
