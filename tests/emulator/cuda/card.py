"""An NVIDIA GPU by the driver's own interface, called by ctypes: no toolkit and no other package is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from emulator.capture import Captured
from emulator.cuda.nvrtc import compile_cuda, entry
from emulator.executor import Arrays, Mode, bound, translated

LIBRARY = "libcuda.so.1"
REMEDY = "Run this on Linux with an NVIDIA GPU of compute capability 8.0 or later and its driver installed"

_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76
_MOST_THREADS = 256
# Around every buffer, so that a store beside it is seen; a multiple of the alignment that kernels may rely on.
_GUARD_BYTES, _GUARD = 256, 0xA5


class CardError(RuntimeError):
    """There is no GPU to run on, the driver refused a call, or a kernel wrote where it must not."""


class Card:
    """The first GPU of this machine, opened.

    Raises:
        CardError: no driver, or no GPU.
    """

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise CardError(f"NVIDIA's driver is not installed here ({error})") from None
        device, name, context = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDeviceGetName", name, len(name), device)
        capability = []
        for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR):
            value = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
            capability.append(value.value)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self.name = name.value.decode()
        self.architecture = "sm_{}{}".format(*capability)

    def execute(
        self,
        launch: Captured,
        inputs: Arrays,
        outputs: Arrays,
        *,
        initialised: bool,
        mode: Mode,
        place: Callable[[int], str],
    ) -> None:
        """Run a launch as `emulator.executor.execute` does: the outputs are written in place.

        Raises:
            CompileError: NVRTC does not take the text.
            CardError: the driver's error, or a store outside the outputs.
        """
        threads = launch.threadgroup[0]
        groups = [total // part for total, part in zip(launch.grid, launch.threadgroup, strict=True)]
        whole = [part * count for part, count in zip(launch.threadgroup, groups, strict=True)] == list(launch.grid)
        if launch.threadgroup[1:] != (1, 1) or threads % 32 or threads > _MOST_THREADS or not whole:
            raise CardError(f"{launch.name}: threadgroups of {launch.threadgroup} in {launch.grid} do not run as CUDA")
        kernel = translated(launch.source)
        image = compile_cuda([kernel], self.architecture, mode.lane_map == "other")
        arrays = [bound(name, inputs, outputs) for name in kernel.buffers]
        written = [name in outputs for name in kernel.buffers]
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), image)
        try:
            self._call("cuModuleGetFunction", ctypes.byref(function), module, entry(kernel).encode())
            self._launch(function, [*groups, threads, 1, 1], arrays, written)
        finally:
            self._library.cuModuleUnload(module)

    def _launch(
        self, function: ctypes.c_void_p, sizes: Sequence[int], arrays: Sequence[np.ndarray], written: Sequence[bool]
    ) -> None:
        addresses: list[ctypes.c_uint64] = []
        try:
            padded = [_guarded(array) for array in arrays]
            for memory in padded:
                address = ctypes.c_uint64()
                self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(memory.nbytes))
                addresses.append(address)
                self._call("cuMemcpyHtoD_v2", address, _pointer(memory), ctypes.c_size_t(memory.nbytes))
            starts = [ctypes.c_uint64(address.value + _GUARD_BYTES) for address in addresses]
            arguments = (ctypes.c_void_p * len(starts))(*(ctypes.addressof(start) for start in starts))
            unsigned = [ctypes.c_uint(size) for size in (*sizes, 0)]
            self._call("cuLaunchKernel", function, *unsigned, None, arguments, None)
            self._call("cuCtxSynchronize")
            for number, (address, memory) in enumerate(zip(addresses, padded, strict=True)):
                after = np.empty_like(memory)
                self._call("cuMemcpyDtoH_v2", _pointer(after), address, ctypes.c_size_t(after.nbytes))
                if written[number]:
                    inner = slice(_GUARD_BYTES, len(after) - _GUARD_BYTES)
                    arrays[number].reshape(-1).view(np.uint8)[:] = memory[inner] = after[inner]
                if not np.array_equal(after, memory):
                    first = int(np.flatnonzero(after != memory)[0]) - _GUARD_BYTES
                    raise CardError(f"the kernel wrote at byte {first} of argument {number}, where it must not")
        finally:
            # After a failed launch the driver refuses these too; the first error is the one to tell.
            for address in addresses:
                self._library.cuMemFree_v2(address)

    def _call(self, name: str, *arguments: Any) -> None:
        if result := getattr(self._library, name)(*arguments):
            told = ctypes.c_char_p()
            self._library.cuGetErrorName(result, ctypes.byref(told))
            word = told.value.decode() if told.value else "an unknown error"
            raise CardError(f"NVIDIA's driver answered {name} with {word} ({result})")


def _guarded(array: np.ndarray) -> np.ndarray:
    guard = np.full(_GUARD_BYTES, _GUARD, np.uint8)
    return np.concatenate([guard, np.ascontiguousarray(array).reshape(-1).view(np.uint8), guard])


def _pointer(memory: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(memory.ctypes.data)
