"""The witness without a GPU, for tests: kernels as CUDA text compiled by the C++ compiler, and a stand-in for libcuda.

It shows that the header means what Metal means and that the driver is called rightly; it says nothing about a GPU.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from emulator.cuda.translation import ENTRY, HEADER_FOLDER, LANE_MAPS, CudaText

_LAUNCH = f"""
static void call(void** arguments) {{ on_cpu::call(metal::{ENTRY}, arguments); }}
extern "C" bool {ENTRY}_on_cpu(void** arguments, const unsigned* n) {{
  return on_cpu::run(call, arguments, {{n[0], n[1], n[2]}}, {{n[3], n[4], n[5]}});
}}
"""


def why_not_on_cpu() -> str | None:
    """Why no kernel can be compiled for the CPU here, or None where it can."""
    if not sys.platform.startswith("linux"):
        return f"the stand-in for NVIDIA's driver is Linux's, and this is {sys.platform}"
    return None if shutil.which("c++") else "there is no C++ compiler `c++` here"


def compile_for_cpu(kernel: CudaText, folder: Path, lane_map: str = "apple") -> bytes:
    """The image that the stand-in for libcuda takes: the path of a shared library.

    Raises:
        subprocess.CalledProcessError: the compiler refused the text; its message is on stderr.
    """
    text = kernel.text + _LAUNCH
    target = folder / (hashlib.sha256(f"{lane_map} {text}".encode()).hexdigest()[:16] + ".so")
    if not target.exists():
        source = target.with_suffix(".cpp")
        source.write_text('#include "on_cpu.h"\n' + text)
        _compile(source, target, f"-DWITNESS_LANE_MAP={LANE_MAPS.index(lane_map)}")
    return bytes(target) + b"\0"


def fake_driver(folder: Path) -> Path:
    """Build the stand-in for libcuda."""
    target = folder / "libcuda.so"
    if not target.exists():
        _compile(HEADER_FOLDER / "fake_driver.cpp", target, "-ldl")
    return target


def _compile(source: Path, target: Path, *options: str) -> None:
    command = ["c++", "-std=c++17", "-O1", "-w", "-shared", "-fPIC", f"-I{HEADER_FOLDER}", str(source)]
    subprocess.run([*command, "-o", str(target), *options], check=True, stderr=subprocess.PIPE, text=True)
