"""MLX's CPU kernels and the operations in C++, compiled once per machine: a `g++` for tests that keeps what it made.

MLX compiles each fused kernel by `g++` from a few lines below one large header, a third of a second each. Here each
process has a cache of its own, as if nothing were compiled yet, but the header is compiled once, and libraries are kept
by the hash of their text.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from mlx_tiny.linux.kernels import HEADER, INCLUDED, compile_header

KEPT = Path.home() / ".cache" / "mlx_tiny" / "tests"
SCRIPT = """#!/bin/sh
source='' library='' object=''
for word; do
    case $word in
    *.cpp) source=$word ;;
    */native/*.o) object=$word ;;
    *.so) library=$word ;;
    *.gch) exec ln -s {kept}/{header}.gch "$word" ;;
    esac
done
if [ -n "$source" ] && [ -n "$object" ]; then
    sum=$(cat "$source" "${{source%/*}}"/*.h | sha256sum) || exit
    kept={kept}/${{sum%% *}}.o
    [ ! -e "$kept" ] || exec cp "$kept" "$object"
    "{compiler}" "$@" || exit
    cp "$object" "$kept.$$" && mv "$kept.$$" "$kept"
    exit
fi
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
    made_of = hashlib.sha256(
        f"{version('mlx')} {version('nanobind')} {sys.version} {INCLUDED} {SCRIPT}".encode() + compiled_by
    ).hexdigest()[:16]
    kept = KEPT / "cpu_kernels" / made_of
    if not (header := kept / f"{HEADER}.gch").exists():
        compile_header(header)
    script = folder / "g++"
    script.write_text(SCRIPT.format(compiler=compiler, kept=kept, header=HEADER))
    script.chmod(0o755)
    return folder
