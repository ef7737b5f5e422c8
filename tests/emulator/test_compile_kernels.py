"""`scripts/compile_kernels` hands every text to Apple's compiler, and says which of them are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_tiny.ops.metal import kernel_names

SCRIPT = Path(__file__).parents[2] / "scripts" / "compile_kernels.py"
# In place of Apple's compiler: it notes the text's name, and refuses what holds the word.
XCRUN = """#!/bin/sh
[ "$1 $2 $3 $4" = "-sdk macosx metal -c" ] && [ -f "${{5#-I}}/mlx/backend/metal/kernels/utils.h" ] || exit 2
basename "$6" >> {log}
if grep -q "{word}" "$6"; then echo "$6:7:1: error: refused" >&2; exit 1; fi
"""


def run(folder: Path, word: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    log = folder / "log"
    (folder / "xcrun").write_text(XCRUN.format(log=log, word=word))
    (folder / "xcrun").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True)
    return done, log.read_text().split()


@pytest.mark.parametrize(("word", "code"), [("no such word", 0), ("custom_kernel_muon_pack__float_4_", 3)])
def test_every_text_is_compiled_and_refusals_are_named(tmp_path: Path, word: str, code: int) -> None:
    done, compiled = run(tmp_path, word)
    assert done.returncode == code, done.stderr
    assert {name.rpartition("_")[0] for name in compiled} == set(kernel_names())
    assert all(f"{name}: " in done.stdout for name in kernel_names())
    refused = [line for line in done.stderr.splitlines() if line.endswith(".metal:")]
    assert len(refused) == (code == 3) and all(line.startswith("muon_pack_") for line in refused)
    assert ("all" in done.stdout) == (code == 0)


def test_without_xcode_it_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env={**os.environ, "PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 1 and "a Mac with Xcode" in done.stderr
