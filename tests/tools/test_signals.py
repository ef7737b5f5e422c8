"""Signals: noted or ending, said at once, and each request counted once."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from tiny_run import subprocess_environment, wait_until

from mlx_tiny.tools import signals, waiting
from mlx_tiny.tools.signals import ENDING, Interrupted, Interruption, keyboard_interrupts
from mlx_tiny.tools.waiting import Waiting


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals that follow each other at once are requests of their own."""
    monkeypatch.setattr(signals, "_ONE_REQUEST_S", 0.0)


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_ends_with_its_exit_code(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    with Interruption().answering() as interruption, pytest.raises(Interrupted) as ended:
        signal.raise_signal(number)
    assert ended.value.code == 128 + number and interruption.signal is number
    assert capsys.readouterr().err == f"mlx-tiny: Interrupted ({number.name}).\n"


def test_the_line_of_a_signal_does_not_follow_the_dots_of_a_phase(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_FIRST_S", 0.01)
    with Interruption().answering() as interruption:
        interruption.hold("it is saved")
        with Waiting("measuring"):
            wait_until(lambda: waiting._open is not None)
            signal.raise_signal(signal.SIGINT)
            wait_until(lambda: waiting._open is None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("measuring ...") and lines[1].startswith("mlx-tiny: Interrupted (SIGINT)")
    assert re.fullmatch(r"measuring \.\.\. \d\.\d s", lines[2]) and len(lines) == 3


@pytest.mark.usefixtures("patient")
def test_what_is_held_ends_at_the_second_signal(capsys: pytest.CaptureFixture[str]) -> None:
    with Interruption().answering() as interruption:
        interruption.hold("it is saved")
        signal.raise_signal(signal.SIGTERM)
        assert interruption.requested
        with pytest.raises(Interrupted) as ended:
            interruption.end_if_requested()
        assert ended.value.code == 143
        with pytest.raises(Interrupted) as ended:
            signal.raise_signal(signal.SIGINT)
        assert ended.value.code == 130
    first, second = capsys.readouterr().err.splitlines()
    assert "SIGTERM" in first and "it is saved" in first
    assert "SIGINT" in second and "at once" in second


def test_signals_that_are_sent_twice_are_one_request() -> None:
    with Interruption().answering() as interruption:
        interruption.hold("it is saved")
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
            signal.raise_signal(number)
        assert interruption.signal is signal.SIGHUP


@pytest.mark.usefixtures("patient")
def test_a_block_that_can_be_cut_is_left_at_the_first_signal() -> None:
    with Interruption().answering() as interruption:
        interruption.hold("it is saved")
        with interruption.cut():
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("it was not left")
        assert interruption.requested
        with pytest.raises(Interrupted), interruption.cut():
            signal.raise_signal(signal.SIGTERM)


def test_work_that_fails_because_of_a_signal_is_done_again() -> None:
    def work() -> str:
        calls.append("call")
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        if len(calls) in (1, 3):
            raise RuntimeError("the compiler was ended")
        return "done"

    calls: list[str] = []
    with Interruption().answering() as interruption:
        interruption.hold("it is saved")
        assert interruption.surely(work) == "done"
        with pytest.raises(RuntimeError):
            interruption.surely(work)


@pytest.mark.parametrize("number", ENDING)
def test_an_end_that_is_swallowed_is_asked_for_again(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def swallow_and_go_on() -> None:
        with contextlib.suppress(SystemExit):
            signal.raise_signal(number)
        for _ in range(1000):
            time.sleep(0.01)

    with Interruption().answering(), pytest.raises(Interrupted) as ended:
        swallow_and_go_on()
    assert ended.value.code == 128 + number
    assert capsys.readouterr().err.count("Interrupted (") == 1


@pytest.mark.parametrize("failing", [False, True])
def test_handlers_are_given_back(failing: bool) -> None:
    before = [signal.getsignal(number) for number in ENDING]
    try:
        with Interruption().answering() as interruption, interruption.answering():
            assert [signal.getsignal(number) for number in ENDING] != before
            if failing:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert [signal.getsignal(number) for number in ENDING] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption().answering() as interruption:
            signal.raise_signal(signal.SIGHUP)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_answers_none() -> None:
    def work() -> None:
        with Interruption().answering() as interruption:
            interruption.hold("it is saved")
            done.append(interruption.requested)

    done: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]


def test_ctrl_c_can_be_an_exception_that_ends_nothing() -> None:
    with Interruption().answering() as interruption:
        with keyboard_interrupts():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            with pytest.raises(Interrupted):
                signal.raise_signal(signal.SIGTERM)
        assert interruption.signal is signal.SIGTERM


def test_the_system_ends_a_process_that_answers_no_more() -> None:
    program = """
import os, signal
from mlx_tiny.tools.signals import Interruption
with Interruption().answering(whole_process=True) as interruption:
    interruption.hold("it is saved")
    with interruption.left_to_the_system():
        os.kill(os.getpid(), signal.SIGTERM)
"""
    done = subprocess.run([sys.executable, "-c", program], env=subprocess_environment(), timeout=30)
    assert done.returncode == -signal.SIGTERM


def test_what_came_before_it_is_left_to_the_system_ends_the_process() -> None:
    with Interruption().answering() as interruption:
        interruption.hold("it is saved")
        handler = signal.getsignal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Interrupted) as ended, interruption.left_to_the_system():
            raise AssertionError("it goes on")
        assert ended.value.code == 143 and signal.getsignal(signal.SIGTERM) == handler


_BUSY = """
import hashlib, sys, threading
from mlx_tiny.tools import signals
signals.PATIENCE_S, signals._ONE_REQUEST_S = float(sys.argv[1]), 0.0
with signals.Interruption().answering(whole_process=True):
    threading.Timer(0.1, print, ["busy"], {"flush": True}).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)  # minutes without an instruction of Python
"""


@pytest.mark.parametrize(("patience_s", "requests"), [(0.0, 1), (60.0, 2)])
def test_a_process_within_a_long_computation_answers_at_once_and_ends(patience_s: float, requests: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _BUSY, str(patience_s)],
        env=subprocess_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        for _ in range(requests):
            process.send_signal(signal.SIGTERM)
            assert "Interrupted (SIGTERM)" in process.stderr.readline()
        assert process.wait(timeout=10) == 143
    finally:
        process.kill()
