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

import numpy as np

from mlx_tiny.machine.hardware import usable_cores

PACKAGE = "scipy-openblas32"
ROUTINE_PREFIX = "cblas_"
REQUIRED_ROUTINE = "cblas_sgemm"
LARGEST_ERROR = {"float32": 1e-5, "complex64": 1e-5, "float64": 1e-13}  # of the norm, with 45 terms a sum
_REMEDY = (
    "training will be many times slower than it could be; `pip install scipy-openblas32`, or a BLAS that is loaded "
    "first (LD_PRELOAD=libopenblas.so.0), mends that"
)


@dataclass(frozen=True)
class BlasStatus:
    """Which BLAS serves MLX's products on the CPU."""

    name: str
    """For example "OpenBLAS 0.3.30 (scipy-openblas32)" or "netlib reference"."""
    active: bool
    """Whether a fast BLAS is in use, whoever brought it."""
    reason: str
    """Why; where `active` is false, a sentence for the user with its remedy."""


_lock = threading.Lock()
_status: BlasStatus | None = None
# Never closed: libmlx calls into it until the process ends. The prefix is that of its functions for threads.
_openblas: tuple[ctypes.CDLL, str] | None = None


def use_fast_blas() -> BlasStatus:
    """Make MLX use OpenBLAS on Linux; the first call does the work, later ones return its result.

    On macOS there is nothing to do, and what replaces a BLAS is not even imported.

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
        library, prefix = _openblas
        library[f"{prefix}openblas_set_num_threads"](ctypes.c_int(count))


def blas_threads() -> int:
    """Threads that OpenBLAS may use for a product; 1 where OpenBLAS is not in use."""
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
    from mlx_tiny.linux.elf import SLOT_TYPES, Image, Surprise, file_of

    machine = os.uname().machine
    if machine not in SLOT_TYPES or struct.calcsize("P") != 8:
        raise Surprise(f"no way to replace MLX's BLAS is known on {machine}")
    _check_products()  # loads libmlx and makes the dynamic linker fill the slots
    slots = Image.of_library("libmlx.so").import_slots(ROUTINE_PREFIX, SLOT_TYPES[machine])
    if REQUIRED_ROUTINE not in slots:
        raise Surprise(f"libmlx.so does not import {REQUIRED_ROUTINE}")
    present = file_of(slots[REQUIRED_ROUTINE].value())
    if not _is_reference(present):
        name, library = os.path.basename(present), ctypes.CDLL(present)
        if hasattr(library, "openblas_set_num_threads"):
            _openblas = library, ""
            _keep_to_usable_cores()
        return BlasStatus(name, True, f"{name} was there already, brought by MLX or loaded before it")
    library, name = _load_openblas()
    targets = {routine: _routine_address(library, routine) for routine in slots}
    if targets[REQUIRED_ROUTINE] is None:
        raise Surprise(f"{name} has no {REQUIRED_ROUTINE}")
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
    from mlx_tiny.linux.elf import Surprise

    # find_spec, not import: the package's own import would load the library into the global scope.
    spec = importlib.util.find_spec("scipy_openblas32")
    if spec is None or not spec.submodule_search_locations:
        raise Surprise(f"the package {PACKAGE} is not installed")
    found = sorted((Path(spec.submodule_search_locations[0]) / "lib").glob("libscipy_openblas*.so*"))
    if not found:
        raise Surprise(f"the package {PACKAGE} holds no library")
    library = ctypes.CDLL(str(found[0]))
    library.scipy_openblas_get_config.restype = ctypes.c_char_p
    settings = library.scipy_openblas_get_config().decode()
    if "USE64BITINT" in settings:
        raise Surprise(f"the library of {PACKAGE} takes 64-bit sizes, MLX gives 32-bit ones")
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

    from mlx_tiny.linux.elf import Surprise

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
                raise Surprise(f"a {dtype} product was wrong by {error:.1e}")
