"""`scripts/compile_kernels` hands each text to Apple's compiler, and says which of them are refused."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

SCRIPT = Path(__file__).parents[2] / "scripts" / "compile_kernels.py"
# In place of Apple's compiler: it notes the text's name, and refuses what holds the word.
XCRUN = """#!/bin/sh
[ "$1 $2 $3 $4" = "-sdk macosx metal -c" ] && [ -f "${{5#-I}}/mlx/backend/metal/kernels/utils.h" ] || exit 2
basename "$6" >> {log}
grep -q "mlx/backend/metal/kernels/utils.h" "$6" || exit 2
if grep -q wrong "$6"; then echo "$6:7:1: error: refused" >&2; exit 1; fi
"""


@pytest.fixture
def script() -> Any:
    spec = importlib.util.spec_from_file_location("compile_kernels", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(script: Any, folder: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[Result, list[str]]:
    launches = [SimpleNamespace(name=text.split()[0], source=text) for text in texts]
    monkeypatch.setattr(script, "captured_launches", lambda: launches)
    (folder / "xcrun").write_text(XCRUN.format(log=folder / "log"))
    (folder / "xcrun").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    result = CliRunner().invoke(script.main)
    return result, sorted((folder / "log").read_text().split())


def test_each_text_is_compiled_once(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, compiled = run(script, tmp_path, ["pack float", "product half", "pack float", "pack bfloat"], monkeypatch)
    assert result.exit_code == 0, result.output
    assert compiled == ["pack_0.metal", "pack_2.metal", "product_1.metal"]
    assert "pack: 2 texts" in result.output and "all 3 texts" in result.output


def test_refused_texts_are_named(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result, compiled = run(script, tmp_path, ["pack float", "product wrong", "norm half"], monkeypatch)
    assert result.exit_code == 3 and len(compiled) == 3
    assert "product_1.metal:" in result.output and ":7:1: error: refused" in result.output
    assert "1 of 3 texts" in result.output and "pack_0" not in result.output


def test_without_xcode_it_says_what_to_do(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(script.main)
    assert result.exit_code == 1 and "a Mac with Xcode" in result.output
