"""Commands that need PyTorch say so where it is missing, too old or broken."""

from __future__ import annotations

import builtins
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mlx_tiny.reference import requirement

from .cases import USER, Case, assert_explained
from .command_line import ROOT, call


def test_torch_that_is_missing_or_too_old_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = ("pip install 'torch>=2.6,<2.14'", "download.pytorch.org/whl/cpu` saves gigabytes")
    for found, words in (
        (None, ("PyTorch is not installed, and mlx-tiny validate needs it", *remedy)),
        (SimpleNamespace(__version__="2.5.1"), ("PyTorch is too old for mlx-tiny validate", "2.6", "2.5.1", *remedy)),
    ):
        monkeypatch.setitem(sys.modules, "torch", found)
        for arguments in (("validate",), ("validate", "--self-test"), ("validate", "--json")):
            assert_explained(call(*arguments), Case(arguments, words, USER))


def test_a_part_of_torch_that_is_missing_is_not_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = builtins.__import__

    def broken(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise ModuleNotFoundError("No module named 'sympy'", name="sympy")
        return sound(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    words = ("PyTorch is installed but cannot be loaded (No module named 'sympy')", "pip install 'torch>=2.6,<2.14'")
    assert_explained(call("validate"), Case((), words, USER))


def test_the_versions_of_torch_are_those_of_the_package() -> None:
    assert f'\nreference = ["{requirement.VERSIONS}"]\n' in (ROOT / "pyproject.toml").read_text()
    assert requirement.VERSIONS.startswith(f"torch>={requirement.OLDEST[0]}.{requirement.OLDEST[1]},")
