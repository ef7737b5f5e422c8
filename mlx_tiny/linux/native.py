"""The operations of `cpp/`: compiled once for this machine, kept below the cache, and loaded as a Python module.

MLX's interface for extensions is C++ with nanobind. g++ compiles the module into the private folder of MLX's kernels
(see `kernels.py`), and its copy is kept beside them, with its hash. `prepare` compiles; other code uses what is there.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.files import atomic_folder, discard_folder, hash_file, hash_text, make_folder, remove_leftovers
from mlx_tiny.linux import kernels
from mlx_tiny.linux.blas import product_address
from mlx_tiny.tools.processes import environment

_SOURCES = Path(__file__).with_name("cpp")
_NAME = "tiny_native"
_LIBRARY, _HASH = f"{_NAME}.so", "sha256"
_COMMON = ("-std=c++20", "-fPIC", "-fvisibility=hidden", "-DNB_DOMAIN=mlx", "-DNDEBUG")
# Without errno and traps, which nobody reads, comparisons and square roots become vector code.
_FAST = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math")
_NOT_YET = "they are not compiled yet, which training does"

_reason: str | None = _NOT_YET
_module: Any = None


def module() -> Any:
    """The module, whose functions `cpp/module.cpp` describes; `why_not` is None where there is one."""
    assert _module is not None
    return _module


@functools.cache
def _load_kept() -> None:
    with contextlib.suppress(Exception):
        _load(_kept())


def why_not() -> str | None:
    """Why the operations in C++ cannot be used in this process, or None where they can."""
    _load_kept()
    return _reason


def can_be_here() -> bool:
    """Whether they are for this machine at all."""
    return sys.platform == "linux" and mx.default_device().type == mx.DeviceType.cpu


def prepare() -> None:
    """Compile the module if that has not been done on this machine; it takes some ten seconds.

    Where that fails, `why_not` says why, and other implementations are used.
    """
    global _reason
    if why_not() is None:
        return
    try:
        kept = _kept()
        if not kept.exists():
            _compile(kept)
        _load(kept)
    except subprocess.CalledProcessError as error:
        _reason = f"g++ could not compile them ({error.stderr or error})"
    except Exception as error:  # training must work without them too
        _reason = f"they cannot be compiled or loaded ({first_line(error).rstrip('.')})"


def _kept() -> Path:
    """The folder of the compiled module for these sources, this machine, and these versions.

    Raises:
        TinyError, OSError: there can be none.
    """
    if not can_be_here():
        raise TinyError("They are for MLX on a CPU under Linux")
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".h", ".cpp"))
    key = hash_text(_COMMON, _FAST, sys.version, _nanobind_version(), *(path.read_text() for path in sources))
    store = kernels.private_store()
    return store.with_name(f"{store.name}.native") / key[:32]


def _nanobind_version() -> str:
    try:
        return version("nanobind")
    except PackageNotFoundError:
        raise TinyError(
            "The package nanobind is not installed", remedy="Install it with `pip install nanobind`"
        ) from None


def _compile(kept: Path) -> None:
    """Compile the module into the folder `kept`.

    Raises:
        TinyError, OSError, subprocess.CalledProcessError: it cannot be compiled.
    """
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise TinyError("Python's headers are not installed", remedy="Install python3-dev, or what it is called here")
    if shutil.which("g++") is None:
        raise TinyError("g++ is not on the PATH")
    nanobind = Path(str(distribution("nanobind").locate_file("nanobind")))
    included = [kernels.INCLUDED, nanobind / "include", nanobind / "ext" / "robin_map" / "include", headers]
    # In a folder whose compilers are ended with this process.
    folder = kernels.own_folder() / "native"
    folder.mkdir(exist_ok=True)
    parts = ((_SOURCES / "module.cpp", _FAST), (nanobind / "src" / "nb_combined.cpp", ("-O2", "-fno-strict-aliasing")))
    with contextlib.ExitStack() as stack:
        running = []
        for source, flags in parts:
            command = ["g++", *_COMMON, *flags, *(f"-I{path}" for path in included)]
            command += ["-c", str(source), "-o", str(folder / f"{source.stem}.o")]
            running.append(stack.enter_context(_running(command, folder)))
        for process in running:
            _finish(process)
    libraries = kernels.INCLUDED.parent / "lib"
    objects = [str(folder / f"{source.stem}.o") for source, _ in parts]
    linked = ["-shared", *objects, f"-L{libraries}", "-lmlx", f"-Wl,-rpath,{libraries}", "-o", str(folder / _LIBRARY)]
    with _running(["g++", *linked], folder) as process:
        _finish(process)
    make_folder(kept.parent)
    remove_leftovers(kept.parent)
    with atomic_folder(kept) as made:
        shutil.copyfile(folder / _LIBRARY, made / _LIBRARY)
        (made / _HASH).write_text(hash_file(made / _LIBRARY))


@contextlib.contextmanager
def _running(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A compiler, which is ended where the block is left by an exception, such as that of Ctrl-C."""
    changed, pipe = environment(TMPDIR=str(folder)), subprocess.PIPE
    with subprocess.Popen(
        command, env=changed, stdout=subprocess.DEVNULL, stderr=pipe, text=True, errors="replace"
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def _finish(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    if process.returncode:
        lines = said.strip().splitlines()
        told = next((line for line in lines if "error" in line), " ".join(lines[:1]))
        raise subprocess.CalledProcessError(process.returncode, "g++", stderr=told)


def _load(kept: Path) -> None:
    """Load the module from its folder, and remove a folder that is damaged.

    Raises:
        TinyError, OSError, ImportError: it is not there, damaged, or does not fit this MLX.
    """
    global _module, _reason
    library = kept / _LIBRARY
    names = {path.name for path in kernels.files_of(kept)}
    if names != {_LIBRARY, _HASH} or hash_file(library).encode() != (kept / _HASH).read_bytes():
        discard_folder(kept)
        raise TinyError("The compiled file is damaged", remedy="The next run compiles it again")
    loader = importlib.machinery.ExtensionFileLoader(_NAME, str(library))
    spec = importlib.util.spec_from_loader(_NAME, loader)
    assert spec is not None
    found = importlib.util.module_from_spec(spec)
    loader.exec_module(found)
    if (address := product_address()) is None:
        raise TinyError("MLX does not use OpenBLAS, by which they multiply")
    found.use_product(address)
    try:
        # On a stream of its own: the default stream's thread, if it were started here, would be missing after a fork.
        with mx.stream(mx.new_stream(mx.cpu)):
            right = mx.allclose(found.normalize(mx.array([[3.0, 4.0]]), 0.0)[0], mx.array([[0.6, 0.8]]) * 2**0.5)
            mx.eval(right)
    except TypeError:
        raise TinyError("MLX was built with another version of nanobind, so that its arrays are not known") from None
    if not right.item():
        raise TinyError("A result was wrong")
    _module, _reason = found, None
