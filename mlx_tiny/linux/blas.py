"""A fast BLAS for MLX on Linux, whose wheel contains netlib's slow reference routines.

MLX has no setting for its BLAS. `use_fast_blas` therefore changes the import slots (GOT) of the loaded libmlx.so: the
slots of the cblas_ products then point to OpenBLAS from the package scipy-openblas32. That package prefixes every name
by `scipy_`, so the dynamic linker does not use it by itself. Each slot is one aligned pointer. Afterwards products are
compared with numpy's, and the slots are restored if they differ. Where LD_PRELOAD, or a BLAS that was loaded first, has
given MLX a fast BLAS already, nothing is changed. `MLX_TINY_BLAS=off` turns all this off.
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

import numpy as np

from mlx_tiny.machine.hardware import usable_cores

PACKAGE = "scipy-openblas32"
ROUTINE_PREFIX = "cblas_"
REQUIRED_ROUTINE = "cblas_sgemm"
LARGEST_ERROR = {"float32": 1e-5, "complex64": 1e-5, "float64": 1e-13}  # relative to the norm; each sum has 45 terms
_REMEDY = (
    "training will be many times slower than it could be; to change that, `pip install scipy-openblas32`, or load "
    "another BLAS first (LD_PRELOAD=libopenblas.so.0)"
)


@dataclass(frozen=True)
class BlasStatus:
    """Which BLAS MLX uses on the CPU."""

    name: str
    """For example "OpenBLAS 0.3.30 (scipy-openblas32)" or "netlib reference"."""
    active: bool
    """Whether it is a fast one."""
    reason: str
    """Why; if `active` is false, a sentence for the user with a remedy."""


_lock = threading.Lock()
_status: BlasStatus | None = None
# The library, never closed because libmlx calls it until the process ends, and the prefix of its thread functions.
_openblas: tuple[ctypes.CDLL, str] | None = None


def use_fast_blas() -> BlasStatus:
    """Make MLX use OpenBLAS on Linux; the first call does the work, later ones return its result.

    On macOS there is nothing to do, and `linux/elf.py` is not imported.

    Returns:
        The status. It raises nothing: where OpenBLAS cannot be used, the status says why.
    """
    global _status
    with _lock:
        if _status is None:
            _status = _decide()
        return _status


def set_blas_threads(count: int) -> None:
    """Let OpenBLAS use `count` threads per product, in the whole process; without OpenBLAS nothing happens."""
    if count < 1:
        raise ValueError(f"expected at least 1 BLAS thread, got {count}")
    if _openblas is not None:
        library, prefix = _openblas
        library[f"{prefix}openblas_set_num_threads"](ctypes.c_int(count))


def product_address() -> int | None:
    """Where the routine `cblas_sgemm` of the fast BLAS is in memory; None where OpenBLAS is not in use."""
    if _openblas is None:
        return None
    library, prefix = _openblas
    return ctypes.cast(library[f"{prefix}{REQUIRED_ROUTINE}"], ctypes.c_void_p).value


def blas_threads() -> int:
    """Threads that OpenBLAS may use per product; 1 where OpenBLAS is not in use."""
    if _openblas is None:
        return 1
    library, prefix = _openblas
    return int(library[f"{prefix}openblas_get_num_threads"]())


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
        return BlasStatus("Accelerate", True, "Accelerate, as in MLX's wheel")
    if sys.platform != "linux":
        return BlasStatus("unknown", False, f"MLX's BLAS on {sys.platform} is not changed")
    if os.environ.get("MLX_TINY_BLAS", "").lower() in ("off", "0", "no"):
        return BlasStatus("that of MLX's wheel", False, "MLX's BLAS is not changed, because MLX_TINY_BLAS is off")
    try:
        return _replace()
    except Exception as error:  # training must work without the fast BLAS too
        reason = f"OpenBLAS is not in use ({error}): {_REMEDY}"
        return BlasStatus("netlib reference", False, reason)


def _replace() -> BlasStatus:
    global _openblas
    from mlx_tiny.linux.elf import SLOT_TYPES, Image, Unexpected, file_of

    machine = os.uname().machine
    if machine not in SLOT_TYPES or struct.calcsize("P") != 8:
        raise Unexpected(f"replacing MLX's BLAS is not supported on {machine}")
    _check_products()  # loads libmlx, and makes the dynamic linker fill the slots
    slots = Image.of_library("libmlx.so").import_slots(ROUTINE_PREFIX, SLOT_TYPES[machine])
    if REQUIRED_ROUTINE not in slots:
        raise Unexpected(f"libmlx.so does not import {REQUIRED_ROUTINE}")
    present = file_of(slots[REQUIRED_ROUTINE].value())
    if not _is_reference(present):
        name, library = os.path.basename(present), ctypes.CDLL(present)
        if hasattr(library, "openblas_set_num_threads"):
            _openblas = library, ""
            _keep_to_usable_cores()
        return BlasStatus(name, True, f"{name}, from MLX's wheel or loaded before MLX")
    library, name = _load_openblas()
    targets = {routine: _routine_address(library, routine) for routine in slots}
    if targets[REQUIRED_ROUTINE] is None:
        raise Unexpected(f"{name} has no {REQUIRED_ROUTINE}")
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
    _openblas = library, "scipy_"
    _keep_to_usable_cores()
    return BlasStatus(name, True, f"{name} in place of the reference BLAS in MLX's wheel")


def _keep_to_usable_cores() -> None:
    if "OPENBLAS_NUM_THREADS" not in os.environ:
        set_blas_threads(max(1, min(blas_threads(), usable_cores())))


def _load_openblas() -> tuple[ctypes.CDLL, str]:
    from mlx_tiny.linux.elf import Unexpected

    # Not imported: the package itself would load the library into the global scope.
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is None or not spec.submodule_search_locations:
        raise Unexpected(f"the package {PACKAGE} is not installed")
    found = sorted((Path(spec.submodule_search_locations[0]) / "lib").glob("libscipy_openblas*.so*"))
    if not found:
        raise Unexpected(f"the package {PACKAGE} contains no library")
    library = ctypes.CDLL(str(found[0]))
    library.scipy_openblas_get_config.restype = ctypes.c_char_p
    settings = library.scipy_openblas_get_config().decode()
    if "USE64BITINT" in settings:
        raise Unexpected(f"the library of {PACKAGE} expects 64-bit sizes, and MLX passes 32-bit sizes")
    version = re.match(r"OpenBLAS\s+(\S+)", settings)
    return library, f"OpenBLAS {version[1] if version else ''} ({PACKAGE})".replace("  ", " ")


def _routine_address(library: ctypes.CDLL, routine: str) -> int | None:
    try:
        return ctypes.cast(getattr(library, f"scipy_{routine}"), ctypes.c_void_p).value
    except AttributeError:
        return None


def _is_reference(path: str) -> bool:
    """Whether the BLAS in this file is netlib's; on some distributions libblas.so is a link to a faster one."""
    real = os.path.realpath(path)
    fast = re.search(r"openblas|mkl|blis|atlas|flexiblas|armpl", real, re.IGNORECASE)
    return fast is None and os.path.basename(real).startswith(("libblas", "libcblas", "libmlx"))


def _check_products() -> None:
    """Compare small products by MLX on the CPU with numpy's, and raise where they differ."""
    import mlx.core as mx

    from mlx_tiny.linux.elf import Unexpected

    random = np.random.default_rng(0)
    # A stream of its own: if the default stream's thread were started here, it would be missing after a fork.
    with mx.stream(mx.new_stream(mx.cpu)):
        for dtype, bound in LARGEST_ERROR.items():
            left, right = (random.standard_normal(shape).astype(dtype) for shape in ((67, 45), (33, 45)))
            added = random.standard_normal((67, 33)).astype(dtype)
            terms = [mx.array(term, dtype=getattr(mx, dtype)) for term in (added, left, right)]
            got = np.array(mx.addmm(terms[0], terms[1], terms[2].T, alpha=0.5, beta=2.0))
            expected = 2.0 * added + 0.5 * left @ right.T
            error = float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
            if not error <= bound:
                raise Unexpected(f"a {dtype} product was wrong by {error:.1e}")
