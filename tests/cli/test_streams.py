"""A run goes on where nobody reads what it shows, and is saved when its terminal is closed."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest

from mlx_tiny.cli.streams import lenient

from .command_line import MODULE, STEP_TOKENS, TINY, environment, read_metrics, read_report, write_notes

STEPS = 40
TRAIN = (*MODULE, "train", "--data", "notes.txt", *TINY, "--no-compile", "--samples", "0", "--evaluations", "2")


@pytest.fixture
def place(place: Path) -> Path:
    write_notes(place / "notes.txt")
    return place


def run_in_shell(streams: str, *command: str) -> int:
    words = ["sh", "-c", f'exec "$@" {streams}', "sh", *command]
    return subprocess.run(words, env=environment(), timeout=60).returncode


def test_a_run_without_any_stream_ends_as_any_other(place: Path) -> None:
    """No file of the run gets the number of a closed stream, to which libraries write."""
    command = (*TRAIN, "--budget", f"{STEPS * STEP_TOKENS}tok", "--run", "r")
    assert run_in_shell("<&- >&- 2>&-", *command) == 0
    assert read_report(place / "r")["steps"] == STEPS
    assert [record["step"] for record in read_metrics(place / "r") if record["kind"] == "step"][-1] == STEPS


def test_a_result_that_nobody_gets_is_an_error() -> None:
    assert run_in_shell(">&- 2>&-", *MODULE, "--version") == 1
    assert run_in_shell(">/dev/null 2>&-", *MODULE, "--version") == 0


@pytest.mark.parametrize(("streams", "reason"), [(">&-", "closed"), (">/dev/full", "No space left")])
def test_standard_output_that_cannot_be_written_is_named(streams: str, reason: str) -> None:
    words = ["sh", "-c", f'exec "$@" {streams}', "sh", *MODULE, "--version"]
    done = subprocess.run(words, env=environment(PYTHONUNBUFFERED=""), timeout=60, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "tandard output" in done.stderr and reason in done.stderr
    assert len(done.stderr.splitlines()) == 1 and "permissions" not in done.stderr


def test_a_run_is_saved_when_its_terminal_is_closed(place: Path) -> None:
    """SIGHUP comes then, and writing fails from there on."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(TRAIN[0], [*TRAIN, "--budget", "9000000tok", "--run", "r"], environment())
    shown = b""
    while re.search(rb"loss \d", shown) is None:
        part = os.read(terminal, 65536)
        assert part, shown.decode()
        shown += part
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 129, shown.decode()
    report = read_report(place / "r")
    assert (report["interrupted"], report["interrupted_by"]) == (True, "SIGHUP") and report["steps"] > 0
    assert [record["step"] for record in read_metrics(place / "r") if record["kind"] == "final"] == [report["steps"]]


def test_a_stream_is_silent_from_the_first_write_that_fails_on() -> None:
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        shown = lenient(stream)
        print("one", file=shown, flush=True)
        assert os.read(reader, 10) == b"one\n"
        os.close(reader)
        for _ in range(2):
            print("two", file=shown, flush=True)
        os.write(stream.fileno(), b"what a library writes")
    assert lenient(None).write("three") == 5


def test_a_stream_without_a_descriptor_may_fail_too() -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    print("one", file=lenient(Full()), flush=True)


def test_a_terminal_that_does_not_wait_is_not_given_up() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with open(writer, "w") as stream, open(reader) as read:
        shown = lenient(stream)
        for _ in range(100):
            print("x" * 10_000, file=shown, flush=True)
        os.set_blocking(reader, False)
        assert len(read.read()) > 0
        print("later", file=shown, flush=True)
        assert read.read().endswith("later\n")
