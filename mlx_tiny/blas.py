"""A fast BLAS for MLX on Linux: its wheel there carries netlib's reference routines.

`use_fast_blas` points the import slots (GOT) of the loaded libmlx.so for the cblas_ products at OpenBLAS from
the package scipy-openblas32. MLX has no setting for its BLAS; LD_PRELOAD, or an unprefixed BLAS loaded first,
work too and are left alone, but need a library that pip does not bring. That package prefixes every name by
`scipy_`, so the dynamic linker cannot pick it up by itself. Each routine is one aligned pointer; what was
written is checked by products against numpy and undone where these differ. `MLX_TINY_BLAS=off` leaves MLX as
it came.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlx_tiny.machine import usable_cores

PACKAGE = "scipy-openblas32"
ROUTINE_PREFIX = "cblas_"
REQUIRED_ROUTINE = "cblas_sgemm"
LARGEST_ERROR = {"float32": 1e-5, "complex64": 1e-5, "float64": 1e-13}  # of the norm, with 45 terms a sum
_REMEDY = "training will be many times slower than it could be; `pip install scipy-openblas32` mends that"

# ELF: System V ABI and the processor supplements (elf.h).
_DT_STRTAB, _DT_SYMTAB, _DT_RELA, _DT_RELASZ, _DT_STRSZ, _DT_PLTREL = 5, 6, 7, 8, 10, 20
_DT_PLTRELSZ, _DT_JMPREL = 2, 23
_PT_LOAD, _PT_DYNAMIC, _PT_GNU_RELRO = 1, 2, 0x6474E552
_PF_X = 1
_PROT_READ, _PROT_WRITE = 1, 2
_SLOT_TYPES = {"x86_64": {6, 7}, "aarch64": {1025, 1026}}  # GLOB_DAT and JUMP_SLOT
_SYMBOL_TYPES = {0, 2}  # STT_NOTYPE, STT_FUNC


@dataclass(frozen=True)
class BlasStatus:
    """Which BLAS serves MLX's products on the CPU."""

    name: str
    """For example "OpenBLAS 0.3.30 (scipy-openblas32)" or "netlib reference"."""
    active: bool
    """Whether a fast BLAS is in use, whoever brought it."""
    reason: str
    """Why; where `active` is false, a sentence for the user with its remedy."""


class _Surprise(Exception):
    """Anything that is not as expected; it becomes the reason of an inactive status."""


_lock = threading.Lock()
_status: BlasStatus | None = None
_openblas: ctypes.CDLL | None = None  # never closed: libmlx calls into it until the process ends


def use_fast_blas() -> BlasStatus:
    """Make MLX use OpenBLAS on Linux; the first call does the work, later ones return its result.

    Returns:
        The status. Nothing here raises: what does not work is "not active", with its reason.
    """
    global _status
    with _lock:
        if _status is None:
            _status = _decide()
        return _status


def set_blas_threads(count: int) -> None:
    """Let OpenBLAS use `count` threads a product, in the whole process; without OpenBLAS nothing happens."""
    if count < 1:
        raise ValueError(f"expected at least 1 BLAS thread, got {count}")
    if _openblas is not None:
        _openblas.scipy_openblas_set_num_threads(count)


def blas_threads() -> int:
    """Threads that OpenBLAS may use for a product; 1 where OpenBLAS is not in use."""
    return int(_openblas.scipy_openblas_get_num_threads()) if _openblas is not None else 1


@contextlib.contextmanager
def blas_threads_set_to(count: int) -> Iterator[None]:
    """Let OpenBLAS use `count` threads inside the block, and as many as before after it."""
    before = blas_threads()
    set_blas_threads(count)
    try:
        yield
    finally:
        set_blas_threads(before)


def _decide() -> BlasStatus:
    if sys.platform == "darwin":
        return BlasStatus("Accelerate", True, "Accelerate, brought by MLX")
    if sys.platform != "linux":
        return BlasStatus("unknown", False, f"MLX's BLAS on {sys.platform} is left as it is")
    if os.environ.get("MLX_TINY_BLAS", "").lower() in ("off", "0", "no"):
        return BlasStatus("as brought by MLX", False, "MLX_TINY_BLAS=off leaves MLX's BLAS as it came")
    try:
        return _replace()
    except Exception as error:  # a machine without the fast BLAS must still train
        reason = f"OpenBLAS is not in use ({error}): {_REMEDY}"
        return BlasStatus("netlib reference", False, reason)


def _replace() -> BlasStatus:
    global _openblas
    machine = os.uname().machine
    if machine not in _SLOT_TYPES or struct.calcsize("P") != 8:
        raise _Surprise(f"no way to replace MLX's BLAS is known on {machine}")
    _check_products()  # loads libmlx and makes the dynamic linker fill the slots
    slots = _Image.of_library("libmlx.so").import_slots(ROUTINE_PREFIX, _SLOT_TYPES[machine])
    if REQUIRED_ROUTINE not in slots:
        raise _Surprise(f"libmlx.so does not import {REQUIRED_ROUTINE}")
    present = _file_of(slots[REQUIRED_ROUTINE].value())
    if not _is_reference(present):
        name = os.path.basename(present)
        return BlasStatus(name, True, f"{name} was there already, brought by MLX or loaded before it")
    library, name = _load_openblas()
    targets = {routine: _routine_address(library, routine) for routine in slots}
    if targets[REQUIRED_ROUTINE] is None:
        raise _Surprise(f"{name} has no {REQUIRED_ROUTINE}")
    before = {routine: slots[routine].value() for routine in slots}
    try:
        for routine, target in targets.items():
            if target is not None:
                slots[routine].write(target)
        _check_products()
    except Exception:
        for routine, value in before.items():
            slots[routine].write(value)
        raise
    _openblas = library
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        set_blas_threads(max(1, min(blas_threads(), usable_cores())))
    return BlasStatus(name, True, f"{name} in place of the reference BLAS in MLX's wheel")


def _load_openblas() -> tuple[ctypes.CDLL, str]:
    # find_spec, not import: the package's own import would load the library into the global scope.
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is None or not spec.submodule_search_locations:
        raise _Surprise(f"the package {PACKAGE} is not installed")
    found = sorted((Path(spec.submodule_search_locations[0]) / "lib").glob("libscipy_openblas*.so*"))
    if not found:
        raise _Surprise(f"the package {PACKAGE} holds no library")
    library = ctypes.CDLL(str(found[0]))
    library.scipy_openblas_get_config.restype = ctypes.c_char_p
    library.scipy_openblas_get_num_threads.restype = ctypes.c_int
    library.scipy_openblas_set_num_threads.argtypes = [ctypes.c_int]
    library.scipy_openblas_set_num_threads.restype = None
    settings = library.scipy_openblas_get_config().decode()
    if "USE64BITINT" in settings:
        raise _Surprise(f"the library of {PACKAGE} takes 64-bit sizes, MLX gives 32-bit ones")
    version = re.match(r"OpenBLAS\s+(\S+)", settings)
    return library, f"OpenBLAS {version[1] if version else ''} ({PACKAGE})".replace("  ", " ")


def _routine_address(library: ctypes.CDLL, routine: str) -> int | None:
    try:
        return ctypes.cast(getattr(library, f"scipy_{routine}"), ctypes.c_void_p).value
    except AttributeError:
        return None


def _is_reference(path: str) -> bool:
    """Whether the BLAS in this file is netlib's; distributions link libblas.so to faster ones."""
    real = os.path.realpath(path)
    fast = re.search(r"openblas|mkl|blis|atlas|flexiblas|armpl", real, re.IGNORECASE)
    return fast is None and os.path.basename(real).startswith(("libblas", "libcblas", "libmlx"))


def _check_products() -> None:
    """Compare small products by MLX on the CPU with numpy's; raises where they differ."""
    import mlx.core as mx

    random = np.random.default_rng(0)
    # A stream of its own: the default one's thread, once started, would be missing after a fork.
    with mx.stream(mx.new_stream(mx.cpu)):
        for dtype, bound in LARGEST_ERROR.items():
            left, right = (random.standard_normal(shape).astype(dtype) for shape in ((67, 45), (33, 45)))
            added = random.standard_normal((67, 33)).astype(dtype)
            terms = [mx.array(term, dtype=getattr(mx, dtype)) for term in (added, left, right)]
            got = np.array(mx.addmm(terms[0], terms[1], terms[2].T, alpha=0.5, beta=2.0))
            expected = 2.0 * added + 0.5 * left @ right.T
            error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
            if not error <= bound:
                raise _Surprise(f"a {dtype} product was wrong by {error:.1e}")


class _ProgramHeader(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("offset", ctypes.c_uint64),
        ("vaddr", ctypes.c_uint64),
        ("paddr", ctypes.c_uint64),
        ("filesz", ctypes.c_uint64),
        ("memsz", ctypes.c_uint64),
        ("align", ctypes.c_uint64),
    )


class _LoadedObject(ctypes.Structure):
    _fields_ = (
        ("base", ctypes.c_uint64),
        ("name", ctypes.c_char_p),
        ("headers", ctypes.POINTER(_ProgramHeader)),
        ("count", ctypes.c_uint16),
    )


class _SymbolInfo(ctypes.Structure):
    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _file_of(address: int) -> str:
    """Path of the library that holds the code at `address`."""
    info = _SymbolInfo()
    function = ctypes.CDLL(None).dladdr
    function.argtypes = [ctypes.c_void_p, ctypes.POINTER(_SymbolInfo)]
    if not function(address, ctypes.byref(info)) or not info.file:
        raise _Surprise("a slot of libmlx.so points nowhere")
    return os.fsdecode(info.file)


@dataclass(frozen=True)
class _Slot:
    """The pointer through which a library calls one imported function."""

    address: int
    read_only: bool

    def value(self) -> int:
        return int(ctypes.c_uint64.from_address(self.address).value)

    def write(self, target: int) -> None:
        self._protect(_PROT_READ | _PROT_WRITE)
        ctypes.c_uint64.from_address(self.address).value = target
        if self.read_only:
            self._protect(_PROT_READ)

    def _protect(self, protection: int) -> None:
        mprotect = ctypes.CDLL(None, use_errno=True).mprotect
        mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        if mprotect(self.address // page_bytes * page_bytes, page_bytes, protection) != 0:
            raise _Surprise(f"the system keeps libmlx.so read-only: {os.strerror(ctypes.get_errno())}")


@dataclass(frozen=True)
class _Image:
    """A loaded ELF library, read where it lies in memory and never outside of it."""

    base: int
    headers: tuple[tuple[int, int, int, int], ...]
    """Type, flags, address and size in bytes of each segment."""

    @staticmethod
    def of_library(name: str) -> _Image:
        """The one loaded library whose file is called `name`."""
        found: list[_Image] = []

        def visit(loaded: Any, _size: int, _data: Any) -> int:
            item = loaded.contents
            if os.path.basename(item.name or b"") == name.encode():
                headers = (item.headers[i] for i in range(item.count))
                described = tuple((h.type, h.flags, item.base + h.vaddr, h.memsz) for h in headers)
                found.append(_Image(item.base, described))
            return 0

        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_LoadedObject), ctypes.c_size_t, ctypes.c_void_p)
        # PyDLL keeps the interpreter's lock; without it, another thread's dlopen and this could deadlock.
        ctypes.PyDLL(None).dl_iterate_phdr(kind(visit), None)
        if len(found) != 1:
            raise _Surprise(f"{len(found)} libraries called {name} are loaded")
        return found[0]

    def read(self, address: int, size: int) -> bytes:
        if not any(t == _PT_LOAD and a <= address and address + size <= a + n for t, _, a, n in self.headers):
            raise _Surprise("libmlx.so is not laid out as expected")
        return ctypes.string_at(address, size)

    def import_slots(self, prefix: str, types: set[int]) -> dict[str, _Slot]:
        """Slots of the undefined functions whose name begins with `prefix`, by name."""
        dynamic = self._dynamic()
        if dynamic.get(_DT_PLTREL, _DT_RELA) != _DT_RELA:
            raise _Surprise("libmlx.so has relocations without addends")
        names = self.read(self._absolute(dynamic[_DT_STRTAB]), dynamic[_DT_STRSZ])
        slots = {}
        for table, size in ((_DT_JMPREL, _DT_PLTRELSZ), (_DT_RELA, _DT_RELASZ)):
            if table not in dynamic:
                continue
            block = self.read(self._absolute(dynamic[table]), dynamic[size])
            for offset, info, _ in struct.iter_unpack("<QQq", block):
                if info & 0xFFFFFFFF in types:
                    name = self._undefined_function(dynamic, names, info >> 32)
                    if name.startswith(prefix):
                        slots[name] = self._slot(self.base + offset)
        return slots

    def _dynamic(self) -> dict[int, int]:
        (address, size), *_ = [(a, n) for t, _, a, n in self.headers if t == _PT_DYNAMIC]
        entries: dict[int, int] = {}
        for tag, value in struct.iter_unpack("<qQ", self.read(address, size // 16 * 16)):
            entries.setdefault(tag, value)
        return entries

    def _absolute(self, pointer: int) -> int:
        """An address of the dynamic section; glibc relocates these in memory, others leave them be."""
        loaded = [(a, a + n) for t, _, a, n in self.headers if t == _PT_LOAD]
        return pointer if any(start <= pointer < end for start, end in loaded) else self.base + pointer

    def _undefined_function(self, dynamic: dict[int, int], names: bytes, index: int) -> str:
        """Name of the symbol at `index`, or "" where it is defined here or no function."""
        entry = self.read(self._absolute(dynamic[_DT_SYMTAB]) + 24 * index, 24)
        name, info, _, section = struct.unpack_from("<IBBH", entry)
        if section != 0 or info & 0xF not in _SYMBOL_TYPES:
            return ""
        return names[name : names.index(b"\0", name)].decode()

    def _slot(self, address: int) -> _Slot:
        self.read(address, 8)
        loaded = [(f, a, a + n) for t, f, a, n in self.headers if t == _PT_LOAD]
        if address % 8 or any(flags & _PF_X and start <= address < end for flags, start, end in loaded):
            raise _Surprise("a slot of libmlx.so lies where none is expected")
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        closed = [(a // page_bytes, (a + n) // page_bytes) for t, _, a, n in self.headers if t == _PT_GNU_RELRO]
        return _Slot(address, any(first <= address // page_bytes < end for first, end in closed))
