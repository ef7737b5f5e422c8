"""NVIDIA's run-time compiler, from the PyPI package `nvidia-cuda-nvrtc`, called by ctypes; it needs no GPU."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from emulator.cache import digest, find, keep
from emulator.compiler import RUNTIME, CompileError
from emulator.translation import Translation

REMEDY = "pip install nvidia-cuda-nvrtc"
# A form that every card of capability 8.0 or later can turn into its own.
ANY_CARD = "compute_80"
_HEADERS = (*RUNTIME.glob("*.h"), Path(__file__).with_name("cuda.h"))


def why_not_nvrtc() -> str | None:
    """Why the compiler cannot be used here, or None where it can."""
    if not sys.platform.startswith("linux"):
        return f"NVRTC is looked for on Linux only, and this is {sys.platform}"
    return None if _libraries() else f"NVRTC is not installed ({REMEDY})"


def entry(kernel: Translation) -> str:
    """The name of a kernel as the driver knows it; it takes a pointer for each buffer."""
    return f"{kernel.symbol}_entry"


def cuda_unit(kernels: Sequence[Translation]) -> str:
    """The text for NVRTC. Inside `namespace metal`, Metal's names (float4, half, max) hide CUDA's."""
    entries = []
    for kernel in kernels:
        names = [f"buffer{number}" for number in range(len(kernel.buffers))]
        parameters = ", ".join(f"void* {name}" for name in names)
        space = f"{kernel.symbol}_text::" if not kernel.alone else ""
        entries.append(
            f'extern "C" __global__ void {entry(kernel)}({parameters}) {{\n'
            f"  void* const buffers[] = {{{', '.join(names)}}};\n"
            f"  {space}{kernel.symbol}(buffers, emulator::begin());\n}}\n"
        )
    texts = (kernel.text for kernel in kernels)
    return "".join(('#include "metal.h"\nnamespace metal {\n', *texts, *entries, "}\n"))


def compile_cuda(kernels: Sequence[Translation], architecture: str = ANY_CARD, other_lane_map: bool = False) -> bytes:
    """One program with all of the kernels, kept from run to run.

    Args:
        kernels: their texts.
        architecture: `compute_NN` gives PTX, `sm_NN` a binary for this architecture alone.
        other_lane_map: of 8x8 matrices.

    Raises:
        CompileError: with the compiler's log; lines are those of the captured source.
    """
    text = cuda_unit(kernels)
    options = ["--std=c++17", "--device-as-default-execution-space", f"--gpu-architecture={architecture}"]
    # Only the verdict counts, and on a card the numbers; the whole of the optimiser would take a second a text.
    options.append("--Ofast-compile=max")
    if other_lane_map:
        options.append("--define-macro=EMULATOR_OTHER_LANE_MAP")
    headers = {path.name: path.read_text() for path in _HEADERS}
    name = digest("cuda", text, *options, *headers.values(), _library()._name) + ".cuda"
    if path := find(name):
        return path.read_bytes()
    image = _compile(text, options, headers)
    keep(name, image)
    return image


def _compile(text: str, options: Sequence[str], headers: dict[str, str]) -> bytes:
    library, program = _library(), ctypes.c_void_p()

    def strings(values: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
        return (ctypes.c_char_p * len(values))(*(value.encode("ascii") for value in values))

    def result(kind: str) -> bytes:
        size = ctypes.c_size_t()
        _check(getattr(library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)))
        room = ctypes.create_string_buffer(size.value)
        _check(getattr(library, f"nvrtcGet{kind}")(program, room))
        return room.raw

    contents, names = strings(list(headers.values())), strings(list(headers))
    created = library.nvrtcCreateProgram(
        ctypes.byref(program), text.encode("ascii"), b"kernel.cu", len(headers), contents, names
    )
    _check(created)
    try:
        if library.nvrtcCompileProgram(program, len(options), strings(options)):
            raise CompileError(result("ProgramLog").rstrip(b"\0").decode(errors="replace").strip())
        return result("CUBIN" if options[2].partition("=")[2].startswith("sm_") else "PTX")
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


@functools.cache
def _library() -> ctypes.CDLL:
    path = max(_libraries().items())[1]
    # Some versions do not look for their second library beside themselves.
    for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(path))
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def _libraries() -> dict[int, Path]:
    """The compilers from PyPI that are in this environment, by the major version of CUDA."""
    # They lie under a namespace package: nvidia/cu13/lib, and nvidia/cuda_nvrtc/lib for CUDA 12.
    nvidia = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in nvidia.submodule_search_locations or []] if nvidia else []
    paths = [path for folder in folders for path in folder.glob("*/lib/libnvrtc.so.*")]
    return {int(path.suffix[1:]): path for path in paths if path.suffix[1:].isdigit()}


def _check(result: int) -> None:
    if result:
        raise CompileError(f"NVRTC failed: {_library().nvrtcGetErrorString(result).decode()}")
