"""The kernels' text compiles as CUDA, and the driver of a GPU is called as it asks to be."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from emulator import CompileError, emulated_metal
from emulator.cuda import card as card_module
from emulator.cuda.card import Card, CardError
from emulator.cuda.nvrtc import compile_cuda, entry, why_not_nvrtc
from emulator.executor import translated
from emulator.planted_bugs.kernels import SMALL_KERNELS
from emulator.single_kernel import run_kernel
from emulator.table import captured_launches
from mlx_tiny.ops.metal import kernel_names

SCRIPT = Path(__file__).parents[2] / "scripts" / "validate_kernels.py"

needs_nvrtc = pytest.mark.skipif(why_not_nvrtc() is not None, reason=str(why_not_nvrtc()))


@needs_nvrtc
@pytest.mark.parametrize("name", kernel_names())
def test_every_text_compiles_for_nvidia(name: str) -> None:
    kernels = [
        translated(source) for source in {launch.source: None for launch in captured_launches() if launch.name == name}
    ]
    image = compile_cuda(kernels)
    assert all(f".entry {entry(kernel)}".encode() in image for kernel in kernels)
    # One of them for one card, whose assembler counts shared memory and resolves every name.
    longest = max(kernels, key=lambda kernel: len(kernel.text))
    assert compile_cuda([longest], "sm_90").startswith(b"\x7fELF")


@needs_nvrtc
@pytest.mark.parametrize("other_lane_map", [False, True])
def test_small_kernels_compile(other_lane_map: bool) -> None:
    assert compile_cuda(
        [translated(small.source(small.text())) for small in SMALL_KERNELS.values()], other_lane_map=other_lane_map
    )


@needs_nvrtc
def test_a_broken_text_is_refused_with_its_line() -> None:
    with emulated_metal(run=lambda launch, *_, **__: compile_cuda([translated(launch.source)])):
        kernel: Any = mx.fast.metal_kernel(name="k", input_names=["a"], output_names=["o"], source="\no[0] = nothing;")
        sizes = {"grid": (32, 1, 1), "threadgroup": (32, 1, 1), "output_shapes": [(1,)], "output_dtypes": [mx.float32]}
        with pytest.raises(CompileError, match=r"kernel\.metal\(\d+\): error: .*\"nothing\" is undefined"):
            kernel(inputs=[mx.zeros(8)], **sizes)


class FakeDriver:
    """The entry points of libcuda that a card needs, on this process's memory; `kernel` gets the buffers' addresses."""

    def __init__(self, kernel: Callable[..., object]) -> None:
        self.kernel = kernel
        self.memory: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self.sizes: list[int] = []
        self.module = b""

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name.startswith(("cuInit", "cuDevice", "cuCtx", "cuModule")):
            return lambda *_: 0
        raise AttributeError(name)

    def cuDeviceGetName(self, name: ctypes.Array[ctypes.c_char], length: int, _: Any) -> int:  # noqa: N802
        name.value = b"a card of this test"[: length - 1]
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, _: Any) -> int:  # noqa: N802
        value._obj.value = {75: 9, 76: 0}[attribute]
        return 0

    def cuModuleLoadData(self, _: Any, image: bytes) -> int:  # noqa: N802
        self.module = image
        return 0

    def cuMemAlloc_v2(self, address: Any, size: ctypes.c_size_t) -> int:  # noqa: N802
        memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(memory)
        self.memory[address._obj.value] = memory
        return 0

    def cuMemFree_v2(self, address: ctypes.c_uint64) -> int:  # noqa: N802
        return 0 if self.memory.pop(address.value, None) else 1

    def cuMemcpyHtoD_v2(self, to: ctypes.c_uint64, source: ctypes.c_void_p, size: ctypes.c_size_t) -> int:  # noqa: N802
        ctypes.memmove(to.value, source, size.value)
        return 0

    def cuMemcpyDtoH_v2(self, to: ctypes.c_void_p, source: ctypes.c_uint64, size: ctypes.c_size_t) -> int:  # noqa: N802
        ctypes.memmove(to, source.value, size.value)
        return 0

    def cuLaunchKernel(self, _: Any, *arguments: Any) -> int:  # noqa: N802
        *sizes, stream, pointers, extra = arguments
        assert stream is None and extra is None
        self.sizes = [size.value for size in sizes]
        self.kernel(*(ctypes.c_uint64.from_address(pointer).value for pointer in pointers))
        return 0

    def cuGetErrorName(self, _: int, name: Any) -> int:  # noqa: N802
        name._obj.value = b"CUDA_ERROR_OF_THIS_TEST"
        return 0


def on_card(monkeypatch: pytest.MonkeyPatch, driver: FakeDriver) -> mx.array:
    """Numbers from 0 to 63 by way of the driver."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: driver)
    monkeypatch.setattr(card_module, "compile_cuda", lambda kernels, *_: kernels[0].symbol.encode())
    body = "uint i = thread_position_in_grid.x; o[i] = a[i] * a[i];"
    a = mx.arange(64).astype(mx.float32)
    return run_kernel(body, a, threadgroups=(2, 1, 1), run=Card().execute)


def squares(a: int, o: int) -> None:
    numbers, results = (np.ctypeslib.as_array((ctypes.c_float * 64).from_address(at)) for at in (a, o))
    assert np.isnan(results).all()
    results[:] = numbers**2


def test_a_card_gets_the_buffers_and_gives_back_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver(squares)
    assert on_card(monkeypatch, driver).tolist() == [float(i * i) for i in range(64)]
    assert driver.sizes == [2, 1, 1, 32, 1, 1, 0] and driver.module.startswith(b"kernel_") and driver.memory == {}


@pytest.mark.parametrize(("argument", "byte", "at"), [(0, 0, 0), (1, 256, 256), (1, -4, -4)])
def test_a_store_where_none_belongs_is_reported(
    monkeypatch: pytest.MonkeyPatch, argument: int, byte: int, at: int
) -> None:
    driver = FakeDriver(lambda *buffers: ctypes.memset(buffers[argument] + byte, 1, 1))
    with pytest.raises(CardError, match=f"wrote at byte {at} of argument {argument}"):
        on_card(monkeypatch, driver)
    assert driver.memory == {}


def test_the_drivers_error_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeDriver(squares)
    monkeypatch.setattr(driver, "cuCtxSynchronize", lambda: 719, raising=False)
    with pytest.raises(CardError, match=r"cuCtxSynchronize with CUDA_ERROR_OF_THIS_TEST \(719\)"):
        on_card(monkeypatch, driver)
    assert driver.memory == {}


def test_without_a_gpu_the_script_says_what_to_do() -> None:
    try:
        pytest.skip(f"there is a GPU here: {Card().name}")
    except CardError:
        done = subprocess.run([sys.executable, str(SCRIPT), "--cuda"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no GPU" in done.stderr and "Run this on Linux with an NVIDIA GPU" in done.stderr
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1
