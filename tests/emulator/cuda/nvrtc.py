"""NVIDIA's run-time compiler, from the PyPI package `nvidia-cuda-nvrtc`, called by ctypes; it needs no GPU."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from emulator.cuda.translation import HEADER_FOLDER, LANE_MAPS, CudaText

REMEDY = "pip install nvidia-cuda-nvrtc"

# The oldest that was seen to know the option.
_FAST_COMPILE = (13, 0)


class CompileError(RuntimeError):
    """The compiler refused the text; the message holds its log."""


def why_not_nvrtc() -> str | None:
    """Why the compiler cannot be used here, or None where it can."""
    if not sys.platform.startswith("linux"):
        return f"NVRTC is looked for on Linux only, and this is {sys.platform}"
    if not installed():
        return f"NVRTC is not installed ({REMEDY})"
    return None


def installed() -> dict[int, Path]:
    """The compilers from PyPI that are in this environment, by the major version of CUDA."""
    # They lie under a namespace package: nvidia/cu13/lib, and nvidia/cuda_nvrtc/lib for CUDA 12.
    nvidia = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in nvidia.submodule_search_locations or []] if nvidia else []
    paths = [path for folder in folders for path in folder.glob("*/lib/libnvrtc.so.*")]
    return {int(path.suffix[1:]): path for path in paths if path.suffix[1:].isdigit()}


class Nvrtc:
    """One compiler: the newest installed, or the one at `path`."""

    def __init__(self, path: Path | None = None) -> None:
        path = path or max(installed().items())[1]
        # Some versions do not look for their second library beside themselves.
        for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        self._library = ctypes.CDLL(str(path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = (major.value, minor.value)

    def architecture(self, capability: tuple[int, int]) -> str:
        """What to compile for on a card: its own `sm_NN`, or the newest `compute_NN` where the card is newer.

        Raises:
            CompileError: the card is older than all that this compiler knows.
        """
        count = ctypes.c_int()
        self._check(self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        known = (ctypes.c_int * count.value)()
        self._check(self._library.nvrtcGetSupportedArchs(known))
        wanted = 10 * capability[0] + capability[1]
        older = [architecture for architecture in known if architecture <= wanted]
        if not older:
            raise CompileError(f"NVRTC {self.version} does not compile for compute capability {capability}")
        return f"sm_{wanted}" if wanted in older else f"compute_{max(older)}"

    def compile(
        self, kernel: CudaText, *, architecture: str = "compute_80", lane_map: str = "apple", quickly: bool = False
    ) -> bytes:
        """Compile for a `compute_NN` (gives PTX text) or an `sm_NN` (gives a binary).

        Args:
            kernel: the translated text.
            architecture: what to compile for.
            lane_map: where an 8x8 matrix keeps its elements, "apple" or "other".
            quickly: leave optimisations out, where only the verdict counts.

        Raises:
            CompileError: with the compiler's log.
        """
        program = ctypes.c_void_p()
        headers = {path.name: path.read_bytes() for path in HEADER_FOLDER.glob("*.h")}
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program),
                kernel.text.encode("ascii"),
                f"{kernel.name}.cu".encode(),
                len(headers),
                (ctypes.c_char_p * len(headers))(*headers.values()),
                (ctypes.c_char_p * len(headers))(*(name.encode() for name in headers)),
            )
        )
        options = [
            b"--std=c++17",
            b"--device-as-default-execution-space",
            f"--gpu-architecture={architecture}".encode(),
            f"--define-macro=WITNESS_LANE_MAP={LANE_MAPS.index(lane_map)}".encode(),
            *([b"--Ofast-compile=max"] if quickly and self.version >= _FAST_COMPILE else []),
        ]
        try:
            texts = (ctypes.c_char_p * len(options))(*options)
            if failed := self._library.nvrtcCompileProgram(program, len(options), texts):
                log = self._result(program, "ProgramLog").rstrip(b"\0").decode(errors="replace").strip()
                raise CompileError(f"NVRTC does not accept {kernel.name}: {log or self._described(failed)}")
            return self._result(program, "CUBIN" if architecture.startswith("sm_") else "PTX")
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _result(self, program: ctypes.c_void_p, kind: str) -> bytes:
        size = ctypes.c_size_t()
        ask_size: Callable[..., int] = getattr(self._library, f"nvrtcGet{kind}Size")
        ask: Callable[..., int] = getattr(self._library, f"nvrtcGet{kind}")
        self._check(ask_size(program, ctypes.byref(size)))
        room = ctypes.create_string_buffer(size.value)
        self._check(ask(program, room))
        return room.raw

    def _check(self, result: int) -> None:
        if result:
            raise CompileError(f"NVRTC failed: {self._described(result)}")

    def _described(self, result: int) -> str:
        text: bytes = self._library.nvrtcGetErrorString(result)
        return text.decode()
