"""The processor time of other programs."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.machine import load
from mlx_tiny.machine.load import OtherPrograms, best_look

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Clocks:
    """A machine whose clocks the test sets, in seconds."""

    def __init__(self) -> None:
        self.wall = self.own = self.all = 0.0


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    made = Clocks()
    monkeypatch.setattr(load.time, "perf_counter", lambda: made.wall)
    monkeypatch.setattr(load, "_own_s", lambda: made.own)
    monkeypatch.setattr(load, "_busy_ticks", lambda: round(made.all * TICKS_PER_S))
    monkeypatch.setattr(load, "_visible_cores", lambda: set(range(4)))
    monkeypatch.setattr(load, "usable_cores", lambda: 4)
    return made


@pytest.mark.parametrize(
    ("own_s", "all_s", "usable", "expected"),
    [
        (3.0, 3.0, 4, 0.0),
        (3.0, 5.0, 4, 1.0),
        (5.0, 3.0, 4, 0.0),  # counters have steps
        (0.0, 9.0, 4, 4.0),
        (1.0, 4.0, 2, 0.0),  # a container of two cores among four: others have used spare ones
        (1.0, 7.0, 2, 1.0),
    ],
)
def test_others_have_what_this_process_has_not(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch, own_s: float, all_s: float, usable: int, expected: float
) -> None:
    monkeypatch.setattr(load, "usable_cores", lambda: usable)
    others = OtherPrograms()
    assert others.cores() is None, "no time has passed"
    clocks.wall, clocks.own, clocks.all = 2.0, own_s, all_s
    assert others.cores() == pytest.approx(expected)


def test_counters_may_begin_anew(clocks: Clocks, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([2**32 - TICKS_PER_S, TICKS_PER_S])
    monkeypatch.setattr(load, "_busy_ticks", lambda: next(ticks))
    others = OtherPrograms()
    clocks.wall = 1.0
    assert others.cores() == 2.0


@pytest.mark.parametrize(("taken", "looks"), [(0.0, [5.0]), (1.0, [5.0, 9.0, 7.0])])
def test_a_busy_machine_is_looked_at_again(clocks: Clocks, taken: float, looks: list[float]) -> None:
    left = iter(looks)

    def measure() -> float:
        clocks.wall += 1.0
        clocks.all += taken
        return next(left)

    assert best_look(measure) == (max(looks), taken)
    assert next(left, None) is None


def test_the_ticks_of_linux_are_those_of_the_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_visible_cores", lambda: {0, 2})
    lines = [
        "cpu  9 9 9 9 9 9 9 9 0 0",
        "cpu0 1 2 4 1000 1000 8 16 32 7 7",
        "cpu1 5 5 5 5 5 5 5 5 0 0",
        "cpu2 100 0 0 1",
    ]
    assert load._ticks_of_linux("\n".join([*lines[:3], f"{lines[3]} 0 0 0 0 0 0", "", "intr 5 5"])) == 63 + 100


@pytest.mark.parametrize(("error", "expected"), [(0, 1 + 2 + 8), (5, None)])
def test_the_ticks_of_a_mac(monkeypatch: pytest.MonkeyPatch, error: int, expected: int | None) -> None:
    class Library:
        def mach_host_self(self) -> int:
            return 77

        def host_statistics(self, host: int, kind: int, ticks: Any, count: Any) -> int:
            assert (host, kind, count._obj.value) == (77, 3, 4)
            ticks[:] = [1, 2, 4, 8]  # user, system, idle, nice
            return error

    monkeypatch.setattr(load.sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    assert load._busy_ticks() == expected


def test_a_system_that_does_not_tell_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(load, "_STATISTICS", tmp_path / "absent")
    monkeypatch.setattr(load.sys, "platform", "linux")
    assert OtherPrograms().cores() is None and best_look(lambda: 3.0) == (3.0, None)
