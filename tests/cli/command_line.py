"""Calls the command line in this process, or in a process of its own for signals and start-up."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_run import story

from mlx_tiny.cli import main
from mlx_tiny.data.documents import SEPARATOR
from mlx_tiny.errors import TinyError
from mlx_tiny.training.trainer import Trainer

ROOT = Path(__file__).parents[2]
MODULE = [sys.executable, "-m", "mlx_tiny"]
DOCUMENTS = 600

TINY = ("--preset", "tiny", "--vocabulary-size", "512", "--context", "32", "--batch-size", "4", "--width", "32")
STEP_TOKENS = 4 * 32
FEW_PAUSES = ("--evaluations", "2", "--checkpoints", "0", "--samples", "0", "--no-compile")
"""Settings that spare a run what its test does not look at."""


@dataclass(frozen=True)
class Finished:
    """Result of a command: exit code and output."""

    code: int
    out: str
    err: str

    def results(self) -> dict[str, str]:
        """The `key: value` block that ends the output."""
        lines = self.out.rstrip("\n").split("\n")
        block = lines[len(lines) - lines[::-1].index("") :] if "" in lines else lines
        return dict(line.split(": ", 1) for line in block)


def call(*arguments: str | Path, stdin: str = "") -> Finished:
    """Run `mlx-tiny ARGUMENTS` in this process; an exception that `main` does not handle fails the test."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="") for _ in range(2)]
    code = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8"))
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Finished(code, *(text_of(stream) for stream in streams))


def run_here(command: Sequence[str], log: Path, what: str, count: int) -> None:
    """`mlx_tiny.tools.processes.run` of a `mlx-tiny` command, in this process."""
    assert command[:3] == MODULE
    finished = call(*command[3:])
    if finished.code:
        raise TinyError(f"{what} failed: {finished.err}")


def text_of(stream: io.TextIOWrapper) -> str:
    """Everything that was written to a stream over memory."""
    stream.flush()
    memory = stream.buffer
    assert isinstance(memory, io.BytesIO)
    return memory.getvalue().decode()


def environment(**changes: str) -> dict[str, str]:
    """An environment in which a process finds this checkout from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **changes}


def call_process(*arguments: str | Path, limit_s: float = 60) -> Finished:
    """Run `mlx-tiny ARGUMENTS` as a process of its own."""
    done = subprocess.run(
        [*MODULE, *map(str, arguments)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def succeeded(finished: Finished) -> Finished:
    """The result of a command, after a check that the command succeeded."""
    assert finished.code == 0, finished.err
    return finished


def write_notes(path: Path, documents: int = DOCUMENTS) -> Path:
    """A small text of many documents."""
    path.write_text(f"\n{SEPARATOR}\n".join(map(story, range(documents))) + "\n", encoding="utf-8")
    return path


def write_purchases(path: Path, customers: int = 40, days: int = 12) -> Path:
    """A table in which each customer buys an article a day; one row lacks a customer, one has a rare article."""
    chance, lines = random.Random(0), ["customer,article,count,day"]
    for day in range(1, days + 1):
        lines += [f"C{n},A{chance.randrange(9)},{chance.randrange(9)},2010-12-{day:02}" for n in range(customers)]
    lines += [",A1,1,2010-12-01", "C0,A only once,1,2010-12-31"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


class Crash(Exception):
    """The end of a process that says nothing."""


@contextlib.contextmanager
def crash(steps: int, checkpoint: bool = True) -> Iterator[None]:
    """Let the session inside the block end after some steps, as if its process were killed after a checkpoint."""
    sound, left = Trainer._one_step, iter(range(steps))

    def one_step(self: Trainer) -> None:
        if next(left, None) is None:
            if checkpoint:
                self._checkpoint("last")
            raise Crash
        sound(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Trainer, "_one_step", one_step)
        yield


def read_report(run: Path) -> dict[str, Any]:
    """The run's report.json."""
    return dict(json.loads((run / "report.json").read_text(encoding="utf-8")))


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The records of the run's metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def files_below(folder: Path) -> dict[str, bytes]:
    """Contents of all files in a folder, hidden ones too, by their path in it."""
    found = {}
    for path in folder.rglob("*"):
        # What a compiler that was ended leaves is removed a moment later.
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found


@contextlib.contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """Make `folder` the current one, with a cache of its own in `home`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLX_TINY_HOME", str(folder / "home"))
        yield folder


def strict(text: str) -> dict[str, Any]:
    """Parse JSON, and refuse NaN and infinities, which JSON does not have."""
    return dict(json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON")))
