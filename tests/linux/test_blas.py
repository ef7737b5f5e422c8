"""MLX multiplies by a fast BLAS: right results, from any thread, after a fork, without a crash."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.linux import blas, elf

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only MLX's Linux wheel brings a slow BLAS")
LARGEST_ERROR = {"float32": 1e-6, "complex64": 1e-6, "float64": 1e-15}
"""Of the largest entry of |left| |right|: rounding grows with the root of the terms, here at most 257."""


def status() -> blas.BlasStatus:
    found = blas.use_fast_blas()
    assert found.active, found.reason
    return found


def run(code: str, **environment: str) -> str:
    """Output of a new Python process, because a replaced BLAS stays replaced."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def to_mlx(values: np.ndarray) -> mx.array:
    return mx.array(values, dtype=getattr(mx, str(values.dtype)))


def random(generator: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    values = generator.standard_normal(shape)
    if dtype.startswith("complex"):
        values = values + 1j * generator.standard_normal(shape)
    return values.astype(dtype)


def assert_close(got: mx.array, left: np.ndarray, right: np.ndarray, added: np.ndarray | float = 0.0) -> None:
    wide = np.complex128 if np.iscomplexobj(left) else np.float64
    expected = left.astype(wide) @ right.astype(wide) + added
    scale = (np.abs(left).astype(np.float64) @ np.abs(right)).max() + np.abs(added).max()
    assert np.abs(np.array(got) - expected).max() <= LARGEST_ERROR[str(left.dtype)] * scale


@on_linux
def test_openblas_replaces_the_blas_of_libmlx() -> None:
    assert "OpenBLAS" in status().name
    slots = elf.Image.of_library("libmlx.so").import_slots("cblas_", elf.SLOT_TYPES[os.uname().machine])
    assert {"cblas_sgemm", "cblas_dgemm", "cblas_cgemm"} <= set(slots)
    for slot in slots.values():
        assert "libscipy_openblas" in elf.file_of(slot.value())


@on_linux
def test_products_are_several_times_faster() -> None:
    code = """if True:
        import time, mlx.core as mx
        from mlx_tiny.linux.blas import use_fast_blas, set_blas_threads
        def seconds():
            began = time.perf_counter()
            mx.eval(matrix @ matrix)
            return time.perf_counter() - began
        matrix = mx.random.normal((384, 384))
        slow = min(seconds() for _ in range(3))
        use_fast_blas()
        set_blas_threads(1)
        print(slow / min(seconds() for _ in range(5)))"""
    assert float(run(code)) > 3


def test_the_second_call_is_cheap_and_gives_the_same_status() -> None:
    first = status()
    began = time.perf_counter()
    assert blas.use_fast_blas() is first
    assert time.perf_counter() - began < 1e-3


@pytest.mark.parametrize("dtype", LARGEST_ERROR)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 1, 5), (1, 257, 3), (33, 64, 31), (129, 255, 67), (128, 128, 128)])
@pytest.mark.parametrize("transposed", ["neither", "left", "right", "both"])
def test_products_are_right(dtype: str, shape: tuple[int, int, int], transposed: str) -> None:
    status()
    generator = np.random.default_rng(sum(shape))
    rows, inner, columns = shape
    left, right = random(generator, (rows, inner), dtype), random(generator, (inner, columns), dtype)
    left_mx, right_mx = to_mlx(left), to_mlx(right)
    if transposed in ("left", "both"):
        left_mx = to_mlx(np.ascontiguousarray(left.T)).T
    if transposed in ("right", "both"):
        right_mx = to_mlx(np.ascontiguousarray(right.T)).T
    assert_close(mx.matmul(left_mx, right_mx, stream=mx.cpu), left, right)


@pytest.mark.parametrize("dtype", LARGEST_ERROR)
def test_strided_and_batched_products_are_right(dtype: str) -> None:
    status()
    generator = np.random.default_rng(1)
    left, right = random(generator, (3, 2, 40, 90), dtype), random(generator, (2, 45, 66), dtype)
    got = mx.matmul(to_mlx(left)[:, :, ::2, 1::2], to_mlx(right)[:, :, ::3], stream=mx.cpu)
    assert_close(got, left[:, :, ::2, 1::2], right[:, :, ::3])


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (0.25, -2.0), (3.0, 0.0), (0.0, 1.0)])
def test_addmm_scales_both_terms(alpha: float, beta: float) -> None:
    status()
    generator = np.random.default_rng(2)
    left, right = random(generator, (37, 53), "float32"), random(generator, (53, 29), "float32")
    added = random(generator, (37, 29), "float32")
    got = mx.addmm(to_mlx(added), to_mlx(left), to_mlx(right), alpha, beta, stream=mx.cpu)
    assert_close(got, np.float32(alpha) * left, right, beta * added.astype(np.float64))


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_may_multiply_at_once(threads: int) -> None:
    status()
    faults: list[BaseException] = []

    def multiply(seed: int) -> None:
        try:
            generator = np.random.default_rng(seed)
            left, right = random(generator, (150, 170), "float32"), random(generator, (170, 130), "float32")
            stream = mx.new_stream(mx.cpu)
            for _ in range(20):
                got = mx.matmul(mx.array(left), mx.array(right), stream=stream)
                mx.eval(got)
                assert_close(got, left, right)
        except BaseException as fault:
            faults.append(fault)

    with blas.blas_threads_set_to(threads):
        workers = [threading.Thread(target=multiply, args=(seed,)) for seed in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=60)
    assert not any(worker.is_alive() for worker in workers)
    assert not faults, faults


FORK = """if True:
    import os, signal, mlx.core as mx, numpy as np
    from mlx_tiny.linux.blas import use_fast_blas, set_blas_threads
    assert use_fast_blas().active
    set_blas_threads(2)
    def right(stream):
        left = np.arange(300 * 300, dtype=np.float32).reshape(300, 300) % 7
        got = np.array(mx.matmul(mx.array(left), mx.array(left), stream=stream))
        return bool((got == left @ left).all())
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a hang must not outlive the test
        os._exit(0 if right(mx.cpu) else 9)
    assert os.waitpid(child, 0)[1] == 0, "the child did not multiply"
    assert right(mx.cpu), "the parent did not multiply"
    print("right")"""


@on_linux
def test_a_forked_child_and_its_parent_still_multiply() -> None:
    assert run(FORK) == "right"


def test_the_threads_setting_is_restored() -> None:
    status()
    before = blas.blas_threads()
    with pytest.raises(KeyError), blas.blas_threads_set_to(1):
        assert blas.blas_threads() == 1
        raise KeyError
    assert blas.blas_threads() == before


def test_fewer_than_one_thread_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="got 0"):
        blas.set_blas_threads(0)


def test_the_environment_turns_it_off() -> None:
    code = "from mlx_tiny.linux.blas import *; s = use_fast_blas(); print(s.active, blas_threads(), s.reason)"
    output = run(code, MLX_TINY_BLAS="off")
    if sys.platform == "linux":
        assert output.startswith("False 1 ") and "MLX_TINY_BLAS is off" in output


def test_on_a_mac_what_replaces_a_blas_is_not_imported() -> None:
    code = """if True:
        import sys
        from mlx_tiny.linux.lanes import prepare  # with all that a run loads
        sys.modules.pop("mlx_tiny.linux.elf", None)
        from mlx_tiny.linux import blas
        blas._status, sys.platform = None, "darwin"
        print(blas.use_fast_blas().name, "mlx_tiny.linux.elf" in sys.modules)
    """
    assert run(code).split() == ["Accelerate", "False"]


@on_linux
def test_without_the_package_the_reason_names_the_remedy() -> None:
    code = """if True:
        import importlib.util
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == "scipy_openblas32" else find(name)
        from mlx_tiny.linux.blas import use_fast_blas
        print(use_fast_blas())"""
    output = run(code)
    assert "active=False" in output and "pip install scipy-openblas32" in output


@on_linux
def test_a_wrong_product_puts_the_old_routine_back() -> None:
    code = """if True:
        import ctypes, os
        from mlx_tiny.linux import blas
        from mlx_tiny.linux import elf
        blas._check_products()
        types = elf.SLOT_TYPES[os.uname().machine]
        slots = lambda: elf.Image.of_library("libmlx.so").import_slots("cblas_", types)
        before = {name: slot.value() for name, slot in slots().items()}
        load = blas._load_openblas
        def swapped():
            library, name = load()
            library.scipy_cblas_sgemm = library.scipy_cblas_dgemm
            return library, name
        blas._load_openblas = swapped
        checks = iter((None, elf.Unexpected("a float32 product was wrong")))
        def check():
            fault = next(checks)
            if fault: raise fault
        blas._check_products = check
        status = blas.use_fast_blas()
        assert not status.active and "product was wrong" in status.reason, status
        assert {name: slot.value() for name, slot in slots().items()} == before
        print("restored")"""
    assert run(code) == "restored"


@on_linux
def test_a_read_only_slot_is_written_and_closed_again() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    page_bytes, private_anonymous = 4096, 0x22
    page = libc.mmap(None, page_bytes, elf._PROT_READ, private_anonymous, -1, 0)
    slot = elf.Slot(page + 16, read_only=True)
    slot.write(1234)
    assert slot.value() == 1234
    with open("/proc/self/maps") as maps:
        line = next(
            text for text in maps if int(text.split("-")[0], 16) <= page < int(text.split("-")[1].split()[0], 16)
        )
    assert line.split()[1].startswith("r--")


@on_linux
def test_addresses_outside_of_the_library_are_refused() -> None:
    mx.eval(mx.ones(1))
    image = elf.Image.of_library("libmlx.so")
    with pytest.raises(elf.Unexpected, match="not laid out"):
        image.read(image.base - 8, 8)
    with pytest.raises(elf.Unexpected, match="0 libraries"):
        elf.Image.of_library("libabsent.so")


@pytest.mark.parametrize(
    ("path", "reference"),
    [
        ("/site-packages/mlx_cpu.libs/libblas-bd8a282c.so.3.10.0", True),
        ("/site-packages/mlx/lib/libmlx.so", True),
        ("/usr/lib/libopenblas.so.0", False),
        ("/usr/lib/openblas-pthread/libblas.so.3", False),
        ("/usr/lib/libmkl_rt.so.2", False),
    ],
)
def test_only_the_reference_blas_is_replaced(path: str, reference: bool) -> None:
    assert blas._is_reference(path) is reference
