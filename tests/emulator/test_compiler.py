"""Which compiler is taken, what it is told, and what becomes of its errors."""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from . import CompileError, KernelFault, compiler, executor
from .checker_cases import CLEAN, FAULTY, Case
from .instrumentation import with_lines, with_nans
from .single_kernel import run_kernel

needs_zig = pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
# One of each check, and what clang has to be asked for by flags of its own: reads before writes, and a variable's use.
BY_ZIG = {
    "returns behind the last barrier",
    "a threadgroup that reads another's",
    "an output read before it is written",
    "a variable set on one path",
    "past the end",
    "a vector at an odd place",
    "a barrier for some",
}
SQUARE = "uint i = thread_position_in_grid.x; o[i] = a[i] * a[i];"


@pytest.fixture
def without_a_system_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    _forget()
    yield
    _forget()


def _forget() -> None:
    compiler.compiler.cache_clear()
    executor._functions.cache_clear()


@needs_zig
@pytest.mark.usefixtures("without_a_system_compiler")
@pytest.mark.parametrize(
    "case", [case for case in (*CLEAN, *FAULTY) if case.name in BY_ZIG], ids=lambda case: case.name
)
def test_ziglang_is_used_without_another_compiler(case: Case) -> None:
    assert "ziglang" in compiler.compiler().command
    arguments: dict[str, Any] = {"threads": case.threads, "threadgroups": (2, 1, 1), "checking": True}
    inputs = mx.arange(64).astype(mx.float32) - 30, mx.array([1.0, 2.0])
    if not case.kinds:
        mx.eval(run_kernel(case.body, *inputs, **arguments))
        return
    with pytest.raises(KernelFault) as caught:
        run_kernel(case.body, *inputs, **arguments)
    assert {fault.kind for fault in caught.value.faults} & set(case.kinds)
    assert case.line is None or f"line {case.line}" in str(caught.value)


@pytest.mark.usefixtures("without_a_system_compiler")
def test_a_missing_compiler_is_reported_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CompileError, match="pip install ziglang"):
        run_kernel(SQUARE, mx.ones(32))


@pytest.mark.parametrize(
    ("said", "usable"),
    [
        ("g++ (Debian 12.2.0-14) 12.2.0", True),
        ("g++ (Ubuntu 11.4.0) 11.4.0", False),
        ("clang version 21.1.0 (https://...)", True),
        ("Apple clang version 17.0.0 (clang-1700)", True),
        ("clang version 14.0.6", False),
        ("something else", False),
    ],
)
def test_compilers_that_cannot_fill_variables_are_passed_over(said: str, usable: bool, tmp_path: Path) -> None:
    script = tmp_path / "c++"
    script.write_text(f"#!/bin/sh\necho '{said}'\n")
    script.chmod(0o755)
    assert (compiler._version(str(script)) is not None) == usable


def test_an_error_of_the_text_is_reported_with_its_line() -> None:
    with pytest.raises(CompileError, match=r"body of sample, line 2:\d+: error: .*missing"):
        run_kernel("\no[0] = missing;")


def test_a_kernel_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLX_TINY_EMULATOR_CACHE", str(tmp_path))
    _forget()
    mx.eval(run_kernel(SQUARE, mx.ones(32)))
    first = {path: path.stat().st_ino for path in tmp_path.iterdir()}
    _forget()
    mx.eval(run_kernel(SQUARE, mx.ones(32)))
    assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == first
    # Another text is another library, on the same runtime.
    mx.eval(run_kernel(SQUARE + " ", mx.ones(32)))
    assert len(list(tmp_path.glob("*.so"))) == 2
    assert set(tmp_path.glob("*.o")) == {path for path in first if path.suffix == ".o"}
    _forget()


def test_entries_unused_for_a_month_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLX_TINY_EMULATOR_CACHE", str(tmp_path))
    old, recent = tmp_path / "old.so", tmp_path / "recent.so"
    for path, days in ((old, 31), (recent, 29)):
        path.touch()
        os.utime(path, (time.time() - days * 24 * 3600,) * 2)
    _forget()
    mx.eval(run_kernel(SQUARE, mx.ones(32)))
    assert not old.exists() and recent.exists()
    (library,) = set(tmp_path.glob("*.so")) - {recent}
    os.utime(library, (0, 0))
    _forget()
    mx.eval(run_kernel(SQUARE, mx.ones(32)))
    assert time.time() - library.stat().st_mtime < 3600
    _forget()


def test_calls_in_the_kernel_get_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
    .file 1 "folder" "kernel.metal"
    .file 2 "folder" "vectors.h"
    .loc 1 7 3
    call __tsan_read4@PLT
    .loc 2 90 1
    call\t__tsan_unaligned_write8
    .loc 1 8 0
    call __tsan_write_range
    call __tsan_memset
    call __tsan_func_entry
    """
    monkeypatch.setattr("emulator.instrumentation._ARM", False)
    monkeypatch.setattr("emulator.instrumentation._REGISTERS", ("%esi", "%edx", "%ecx"))
    moves = [line.split() for line in with_lines(text).splitlines() if "mov" in line]
    assert moves == [
        ["movl", f"${line},", register] for line, register in [(7, "%esi"), (7, "%esi"), (8, "%edx"), (8, "%ecx")]
    ]
    monkeypatch.setattr("emulator.instrumentation._ARM", True)
    monkeypatch.setattr("emulator.instrumentation._REGISTERS", ("w1", "w2", "w3"))
    moves = [line.split() for line in with_lines(text.replace("call", "bl")).splitlines() if "mov" in line]
    assert moves == [
        ["mov", f"{register},", f"#{line}"] for line, register in [(7, "w1"), (7, "w1"), (8, "w2"), (8, "w3")]
    ]


def test_the_pattern_of_unset_variables_turns_to_nans() -> None:
    assert with_nans("movl $-16843010, %eax\n.quad -72340172838076674\n.long -168430101") == (
        "movl $-1, %eax\n.quad -1\n.long -168430101"
    )
