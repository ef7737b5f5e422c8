"""What takes long is shown, on a terminal and elsewhere, and does not mix with other lines."""

from __future__ import annotations

import io
import re
import time
from types import SimpleNamespace

import pytest
from tiny_run import wait_until

from mlx_tiny.tools import waiting
from mlx_tiny.tools.waiting import Waiting, lines_between


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def lines(self) -> list[str]:
        """What is to be seen at the end."""
        shown = []
        for line in self.getvalue().split("\n"):
            seen = ""
            for part in line.split("\r"):
                seen = part + seen[len(part) :]
            shown.append(seen.rstrip())
        return shown


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def screen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Screen:
    found = Screen(request.param)
    monkeypatch.setattr(waiting, "sys", SimpleNamespace(stderr=found))  # pytest sets that of sys before each test
    monkeypatch.setattr(waiting, "can_draw", lambda: found.terminal)
    monkeypatch.setattr(waiting, "_FIRST_S", 0.01)
    monkeypatch.setattr(waiting, "_NEXT_S", 0.02)
    return found


def test_what_takes_long_is_shown_while_it_does_and_with_its_time_at_the_end(screen: Screen) -> None:
    with Waiting("compiling", lambda: "3 of 5"):
        if screen.terminal:
            wait_until(lambda: screen.getvalue().count("\rcompiling ... 0 s  3 of 5") >= 3)
        else:
            wait_until(lambda: screen.getvalue().startswith("compiling ......"))
            assert "\n" not in screen.getvalue()
    line, after = screen.lines()
    assert re.fullmatch(r"compiling \.\.\.+ \d\.\d s", line) and not after


def test_what_takes_no_time_is_not_shown(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_FIRST_S", 10.0)
    Waiting("looking").close()
    assert not screen.getvalue()


def test_lines_between_are_whole(screen: Screen) -> None:
    with Waiting("compiling"):
        wait_until(lambda: "compiling" in screen.getvalue())
        with lines_between():
            screen.write("a note\n")
        with Waiting("a part of it"):
            wait_until(lambda: "a part of it" in screen.getvalue())
    lines = screen.lines()
    assert "a note" in lines
    assert [line.split(" ...")[0] for line in lines if line.endswith(" s")] == ["a part of it", "compiling"]


def test_a_closed_stderr_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_FIRST_S", 0.0)
    for stream in (None, open("/dev/null")):  # noqa: SIM115
        if stream is not None:
            stream.close()
        monkeypatch.setattr(waiting, "sys", SimpleNamespace(stderr=stream))
        with Waiting("compiling"):
            time.sleep(0.02)
