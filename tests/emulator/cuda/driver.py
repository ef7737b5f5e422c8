"""An NVIDIA GPU by the driver's own interface, called by ctypes: no toolkit and no other package is needed."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emulator.cuda.translation import ENTRY

LIBRARY = "libcuda.so.1"
REMEDY = "Run this on Linux with an NVIDIA GPU of compute capability 8.0 or later and its driver installed"
OLDEST_CAPABILITY = (8, 0)

_DRIVER_VERSION = Path("/sys/module/nvidia/version")
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76
# Around every buffer, so that a store beside it is seen; a multiple of the alignment that kernels may rely on.
_GUARD_BYTES, _GUARD = 256, 0xA5


class NoCard(Exception):
    """There is no GPU to run on; the message says why."""


class CardError(RuntimeError):
    """The driver refused a call, or a kernel wrote where it must not."""


class Card:
    """The first GPU of this machine, opened; `library` is a path for `dlopen`.

    Raises:
        NoCard: no driver, no GPU, or one that is too old.
    """

    def __init__(self, library: str = LIBRARY) -> None:
        try:
            self._library = ctypes.CDLL(library)
        except OSError as error:
            raise NoCard(f"NVIDIA's driver is not installed here ({error})") from None
        if result := self._library.cuInit(0):
            raise NoCard(f"NVIDIA's driver does not start: {self._error(result)}")
        count, version = ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if count.value == 0:
            raise NoCard("NVIDIA's driver finds no GPU")
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDeviceGetName", name, len(name), device)
        self._call("cuDriverGetVersion", ctypes.byref(version))
        self.name = name.value.decode()
        self.driver_cuda = (version.value // 1000, version.value % 1000 // 10)
        self.capability = (
            self._attribute(_COMPUTE_CAPABILITY_MAJOR, device),
            self._attribute(_COMPUTE_CAPABILITY_MINOR, device),
        )
        self.driver = _DRIVER_VERSION.read_text().strip() if _DRIVER_VERSION.exists() else None
        if self.capability < OLDEST_CAPABILITY:
            raise NoCard(f"{self.name} has compute capability {self.capability[0]}.{self.capability[1]}")
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)

    @property
    def architecture(self) -> str:
        """What NVRTC compiles for."""
        return f"sm_{self.capability[0]}{self.capability[1]}"

    def run(
        self,
        image: bytes,
        *,
        threadgroups: Sequence[int],
        threads: Sequence[int],
        buffers: Sequence[np.ndarray[Any, Any]],
        written: Sequence[bool],
    ) -> list[np.ndarray[Any, Any]]:
        """Run one kernel to its end, and give back the buffers that it writes, as they are then.

        Args:
            image: a binary for `architecture`, or PTX.
            threadgroups, threads: along x, y and z.
            buffers: the kernel's arguments in order; what they hold is what it finds.
            written: for each of them whether the kernel writes it.

        Raises:
            CardError: the driver's error, or a store outside the buffers that may be written.
        """
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuModuleLoadData", ctypes.byref(module), image)
        addresses: list[ctypes.c_uint64] = []
        try:
            self._call("cuModuleGetFunction", ctypes.byref(function), module, ENTRY.encode())
            padded = [_guarded(buffer) for buffer in buffers]
            for memory in padded:
                address = ctypes.c_uint64()
                self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(memory.nbytes))
                addresses.append(address)
                self._call("cuMemcpyHtoD_v2", address, _pointer(memory), ctypes.c_size_t(memory.nbytes))
            starts = [ctypes.c_uint64(address.value + _GUARD_BYTES) for address in addresses]
            arguments = (ctypes.c_void_p * len(starts))(*(ctypes.addressof(start) for start in starts))
            sizes = [ctypes.c_uint(size) for size in (*threadgroups, *threads)]
            self._call("cuLaunchKernel", function, *sizes, ctypes.c_uint(0), None, arguments, None)
            self._call("cuCtxSynchronize")
            results = []
            for place, (address, memory) in enumerate(zip(addresses, padded, strict=True)):
                after = np.empty_like(memory)
                self._call("cuMemcpyDtoH_v2", _pointer(after), address, ctypes.c_size_t(after.nbytes))
                inner = slice(_GUARD_BYTES, len(after) - _GUARD_BYTES)
                if written[place]:
                    results.append(after[inner].view(buffers[place].dtype).reshape(buffers[place].shape))
                    memory[inner] = after[inner]
                if not np.array_equal(after, memory):
                    first = int(np.flatnonzero(after != memory)[0]) - _GUARD_BYTES
                    raise CardError(f"The kernel wrote at byte {first} of argument {place}, where it must not")
            return results
        finally:
            # After a failed launch the driver refuses these too; the first error is the one to tell.
            for address in addresses:
                self._library.cuMemFree_v2(address)
            self._library.cuModuleUnload(module)

    def _attribute(self, attribute: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        if result := getattr(self._library, name)(*arguments):
            raise CardError(f"NVIDIA's driver answered {name} with {self._error(result)}")

    def _error(self, result: int) -> str:
        name = ctypes.c_char_p()
        self._library.cuGetErrorName(result, ctypes.byref(name))
        return f"{name.value.decode() if name.value else 'an unknown error'} ({result})"


def _guarded(buffer: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    guard = np.full(_GUARD_BYTES, _GUARD, np.uint8)
    return np.concatenate([guard, np.ascontiguousarray(buffer).reshape(-1).view(np.uint8), guard])


def _pointer(memory: np.ndarray[Any, Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(memory.ctypes.data)
