"""MLX's CPU kernels, compiled once per machine: a `g++` for the tests' processes that keeps what it made.

MLX compiles each fused kernel by `g++` from a few lines below one large header, a third of a second each, in place
below the temporary folder, where another process might load half a library. Here each process has a temporary folder
of its own, the header is compiled once, and libraries are kept by the hash of their text.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

KEPT = Path.home() / ".cache" / "mlx_tiny" / "tests"
INCLUDED = Path(mx.__file__).parent / "include"
HEADER = "mlx/backend/cpu/compiled_preamble.h"
# MLX's own; with others g++ would pass over the compiled header.
FLAGS = ("-std=c++17", "-O3", "-Wall", "-fPIC")
SCRIPT = """#!/bin/sh
source='' library=''
for word; do
    case $word in
    *.cpp) source=$word ;;
    *.so) library=$word ;;
    esac
done
case $library in
*/mlx/*/cpu/*) ;;
*) exec "{compiler}" "$@" ;;
esac
sum=$(sha256sum <"$source") || exit
kept={kept}/${{sum%% *}}.so
[ ! -e "$kept" ] || exec cp "$kept" "$library"
"{compiler}" "-I{kept}" "$@" || exit
cp "$library" "$kept.$$" && mv "$kept.$$" "$kept"
"""


def compiler_folder(folder: Path) -> Path | None:
    """A folder for the PATH with a `g++` that keeps MLX's kernels; None if MLX needs no g++, or there is none."""
    compiler = shutil.which("g++")
    if sys.platform != "linux" or mx.default_device().type != mx.DeviceType.cpu or compiler is None:
        return None
    compiled_by = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    made_of = hashlib.sha256(f"{version('mlx')} {INCLUDED} {SCRIPT}".encode() + compiled_by).hexdigest()[:16]
    kept = KEPT / "cpu_kernels" / made_of
    compile_header(compiler, kept / f"{HEADER}.gch")
    script = folder / "g++"
    script.write_text(SCRIPT.format(compiler=compiler, kept=kept))
    script.chmod(0o755)
    return folder


def compile_header(compiler: str, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder, target.name)
        header = ["-x", "c++-header", str(INCLUDED / HEADER), "-o", str(built)]
        subprocess.run([compiler, *FLAGS, f"-I{INCLUDED}", *header], check=True, capture_output=True)
        os.replace(built, target)
