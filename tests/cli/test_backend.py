"""`--backend` where PyTorch is missing, broken or too old, and with a wrong name."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlx_tiny.model.options import all_options

from .cases import NOTES, Case, assert_explained, everything
from .command_line import FEW_PAUSES, TINY, call, succeeded

TORCH = (*NOTES, "--backend", "torch", "--budget", "300tok")
INSTALL = ("pip install 'torch>=2.6,<2.14'", "https://download.pytorch.org/whl/cpu` saves gigabytes")


def refused(place: Path, *words: str, arguments: tuple[str, ...] = TORCH) -> None:
    """Check that the command fails with these words and leaves no files."""
    before, case = everything(place), Case(arguments, words)
    finished = call(*arguments)
    assert_explained(finished, case)
    assert "data: " not in finished.err, "no text is prepared for nothing"
    assert everything(place) == before


def test_torch_may_be_missing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(place, "PyTorch is not installed", *INSTALL)


def test_torch_may_be_broken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = builtins.__import__

    def broken(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise OSError("libtorch_cpu.so: cannot open shared object file\nand more")
        return sound(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    refused(place, "cannot be loaded (libtorch_cpu.so: cannot open shared object file)", *INSTALL)


@pytest.mark.parametrize("version", ["2.5.1+cu121", "1.13.1", "unknown"])
def test_torch_may_be_too_old(place: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__=version))
    refused(place, "too old", "Expected version 2.6 or later", f"got {version}", *INSTALL)


def test_a_run_cannot_go_on_without_torch(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded(call("train", "--data", "notes.txt", *TINY, *FEW_PAUSES, "--budget", "300tok", "--run", "r"))
    monkeypatch.setitem(sys.modules, "torch", None)
    refused(place, "PyTorch is not installed", arguments=("train", "--resume", "r", "--backend", "torch"))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("torch", ("Unknown implementation 'torch'", "auto, plain")),
        ("attention=fast", ("Unknown implementation 'fast' of causal attention",)),
        ("fast=plain", ("Unknown operation 'fast'", "norm, qk_norm_rope, attention")),
    ],
)
def test_implementations_that_there_are_not_are_refused(place: Path, asked: str, words: tuple[str, ...]) -> None:
    refused(place, *words, arguments=(*NOTES, "--implementation", asked))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("fast=1", ("Unknown option 'fast'", ", ".join(all_options()))),
        ("idea", ("options is out of range", "NAME=NUMBER")),
        ("idea=nan", ("options is out of range",)),
        ("idea=15,idea=15", ("options is out of range", "each name once")),
    ],
)
def test_options_of_the_model_that_there_are_not_are_refused(place: Path, options: str, words: tuple[str, ...]) -> None:
    refused(place, *words, arguments=(*NOTES, "--options", options))
