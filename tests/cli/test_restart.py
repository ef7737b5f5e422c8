"""After an error of the GPU a new process continues the run; errors are planted, because there is no GPU here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_run import assert_same_runs

from mlx_tiny.cli import restart, session
from mlx_tiny.training.backend import MlxBackend
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.trainer import Trainer

from .command_line import STEP_TOKENS, TINY, Finished, call, environment, read_metrics, read_report, succeeded

HELD_UP = "[METAL] Command buffer execution failed: Impacting Interactivity (0000000e:kIOGPU...)."
NO_MEMORY = "[METAL] Command buffer execution failed: Insufficient Memory (00000008:kIOGPU...)."
STEPS = 40
TRAIN = ("train", "--data", "notes.txt", *TINY, "--no-compile", "--budget", f"{STEPS * STEP_TOKENS}tok")
PAUSES = ("--evaluations", "4", "--checkpoints", "4", "--samples", "0")
PLANT = f"""
from mlx_tiny.cli import main
from mlx_tiny.training.trainer import Trainer

sound = Trainer._settle

def settle(self):
    sound(self)
    if self.step_number > 29:
        raise RuntimeError({HELD_UP!r})

Trainer._settle = settle
main()
"""


class Replaced(BaseException):
    """This process would be another one now."""


@contextlib.contextmanager
def failing(text: str, after: int, also: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Let every session fail after so many steps, and do something else just before."""
    sound, begin = Trainer._settle, Trainer._warm_up
    begun: dict[Trainer, int] = {}

    def warm_up(self: Trainer) -> None:
        begun[self] = self.step_number
        begin(self)

    def settle(self: Trainer) -> None:
        sound(self)
        if self.step_number - begun[self] > after:
            also()
            raise RuntimeError(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_warm_up", warm_up)
        patch.setattr(Trainer, "_settle", settle)
        yield


@contextlib.contextmanager
def failing_once(owner: Any, method: str) -> Iterator[None]:
    """Let the first call of a method fail."""
    sound, left = getattr(owner, method), iter([RuntimeError(HELD_UP)])

    def fail(*args: Any, **kwargs: Any) -> Any:
        for error in left:
            raise error
        return sound(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, fail)
        yield


@pytest.fixture
def replacements(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The environments of the processes that replace this one; each is played by a call in this process."""
    found: list[dict[str, str]] = []

    def execve(program: str, command: list[str], changed: dict[str, str]) -> None:
        assert command[:3] == [program, "-m", "mlx_tiny"] and program == sys.executable
        found.append(changed)
        monkeypatch.setattr(os, "environ", {**changed})
        raise Replaced(command[3:])

    monkeypatch.setattr(os, "execve", execve)
    return found


def call_to_the_end(*arguments: str) -> Finished:
    """Run a command and the processes that replace it."""
    err = ""
    while True:
        try:
            finished = call(*arguments)
            return Finished(finished.code, finished.out, err + finished.err)
        except Replaced as replaced:
            arguments = replaced.args[0]


def test_a_run_goes_on_in_a_new_process_as_if_nothing_had_happened(place: Path) -> None:
    succeeded(call(*TRAIN, *PAUSES, "--run", "whole"))
    done = subprocess.run(
        [sys.executable, "-c", PLANT, "--debug", *TRAIN, *PAUSES, "--run", "broken"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("new process") == 1 and "Impacting Interactivity" in done.stderr
    assert "Traceback" in done.stderr, "--debug shows the error"
    assert "restarts: 1" in done.stderr and "MLX_MAX_OPS_PER_BUFFER=10" in done.stderr
    assert "restarts: 1" in done.stdout
    whole, broken = RunFolder(place / "whole"), RunFolder(place / "broken")
    assert_same_runs(whole, broken)
    report, account = read_report(place / "broken"), broken.load_checkpoint("last")[1]
    assert (report["restarts"], account.restarts, report["steps"]) == (1, 1, STEPS)
    assert read_report(place / "whole")["restarts"] == 0
    assert report["seconds"] == pytest.approx(sum(report["phases_s"][name] for name in ("training", "data")), abs=1.0)
    assert "errors of the GPU | 1" in (place / "broken" / "report.md").read_text()


def test_an_error_at_any_moment_changes_nothing(place: Path, replacements: list[dict[str, str]]) -> None:
    train = ("train", "--data", "notes.txt", *TINY, "--no-compile", "--budget", f"{12 * STEP_TOKENS}tok")
    pauses = ("--evaluations", "2", "--checkpoints", "2", "--samples", "1")
    succeeded(call(*train, *pauses, "--run", "whole"))
    moments = [
        (MlxBackend, "wait"),  # the first step
        (MlxBackend, "sample"),
        (Trainer, "_evaluate_beginning"),
        (MlxBackend, "save_checkpoint"),
        (Trainer, "_final_evaluation"),
        (MlxBackend, "save_weights"),
        (session, "report"),
    ]
    for number, (owner, method) in enumerate(moments):
        os.environ.pop("MLX_TINY_RESTARTS", None)  # a new command
        with failing_once(owner, method):
            succeeded(call_to_the_end(*train, *pauses, "--run", method))
        assert len(replacements) == number + 1, method
        assert_same_runs(RunFolder(place / "whole"), RunFolder(place / method))
        assert read_report(place / method)["restarts"] == 1


def test_restarts_without_progress_end_with_the_error(replacements: list[dict[str, str]]) -> None:
    with failing(HELD_UP, after=3):
        finished = call_to_the_end(*TRAIN, *PAUSES, "--run", "r")
    assert finished.code == 1 and finished.err.count("mlx-tiny train --resume r") == 1
    assert [changed["MLX_MAX_OPS_PER_BUFFER"] for changed in replacements] == ["10", "2", "1"]
    assert "Traceback" not in finished.err


def test_a_run_that_gets_further_is_continued_each_time(place: Path, replacements: list[dict[str, str]]) -> None:
    with failing(HELD_UP, after=10):  # and there is a checkpoint every 8 steps
        succeeded(call_to_the_end(*TRAIN, *PAUSES, "--run", "r"))
    assert len(replacements) == read_report(place / "r")["restarts"] == 4
    assert [record["step"] for record in read_metrics(place / "r") if record["kind"] == "step"] == [
        *range(1, STEPS + 1)
    ]


@pytest.mark.parametrize(
    ("text", "also", "remedy"),
    [(NO_MEMORY, lambda: None, "--micro-batches 2"), (HELD_UP, lambda: signal.raise_signal(signal.SIGINT), "display")],
    ids=["too little memory", "interrupted by the user"],
)
def test_what_would_come_again_or_is_not_wanted_is_not_tried_again(
    place: Path, replacements: list[dict[str, str]], text: str, also: Callable[[], None], remedy: str
) -> None:
    with failing(text, after=20, also=also):
        finished = call_to_the_end(*TRAIN, *PAUSES, "--run", "r")
    assert (finished.code, replacements) == (1, [])
    assert remedy in finished.err and "mlx-tiny train --resume r" in finished.err
    assert RunFolder(place / "r").last_step() == 16


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_on_the_way_to_the_new_process_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, replacements: list[dict[str, str]], number: signal.Signals
) -> None:
    """As where nobody reads what is said, so that saying it takes long."""
    monkeypatch.setattr(restart, "say", lambda _: signal.raise_signal(number))
    with failing(HELD_UP, after=3):
        finished = call_to_the_end(*TRAIN, *PAUSES, "--run", "r")
    assert (finished.code, replacements) == (128 + number, [])
    assert number.name in finished.err and "is saved" not in finished.err


def test_errors_of_the_device_are_explained_in_every_command(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(HELD_UP)

    monkeypatch.setattr("mlx.core.synchronize", fail)
    finished = call("eval", trained, "notes.txt")
    assert finished.code == 1 and "display" in finished.err


def test_where_no_process_can_be_started_the_error_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execve", lambda *_: os.stat("/absent"))
    with failing(HELD_UP, after=3):
        finished = call(*TRAIN, *PAUSES, "--run", "r")
    assert finished.code == 1 and "mlx-tiny train --resume r" in finished.err
