"""The operations in C++ are compiled before a command decides or measures anything, and not where PyTorch computes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mlx_tiny.linux import native

from .command_line import FEW_PAUSES, TINY, call

DATA = ("--data", "notes.txt")


class Compiled(Exception):
    """That the compilation has begun."""


@pytest.fixture(autouse=True)
def nothing_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling ends a command here, and so does what must come after it, as a failure."""

    def compiled() -> None:
        raise Compiled

    def too_early(*_: object, **__: object) -> None:
        pytest.fail("decided or measured before the compilation")

    monkeypatch.setattr(native, "prepare", compiled)
    for later in (
        "mlx_tiny.study.speed.measured_tokens_per_s",
        "mlx_tiny.machine.peaks.measure",
        "mlx_tiny.training.memory.estimate",
        "mlx_tiny.training.step.step_implementations",
    ):
        monkeypatch.setattr(later, too_early)


@pytest.mark.parametrize(
    "words",
    [
        ("train", *DATA, "--budget", "10s"),
        ("train", "--resume", "run", "--budget", "20000tok"),
        ("train", "--from", "run", *DATA, "--budget", "10s"),
        ("plan", *DATA, "--budget", "10s"),
        ("bench", "step"),
        ("profile",),
        pytest.param(("validate",), marks=pytest.mark.torch),
        pytest.param(("validate", "--self-test"), marks=pytest.mark.torch),
    ],
    ids=" ".join,
)
def test_the_operations_are_compiled_first(words: tuple[str, ...], trained: Path, place: Path) -> None:
    if "run" in words:
        shutil.copytree(trained, place / "run")
    with pytest.raises(Compiled):
        call(*words)


@pytest.mark.torch
def test_nothing_is_compiled_for_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(native, "prepare", lambda: pytest.fail("compiled in vain"))
    run = call("train", *DATA, *TINY, *FEW_PAUSES, "--budget", "1000tok", "--run", "run", "--backend", "torch")
    assert run.code == 0, run.err
