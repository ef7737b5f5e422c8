"""Laps add up to the time since the start."""

from __future__ import annotations

import pytest

from mlx_tiny.tools import laps


def test_every_moment_is_in_one_lap(monkeypatch: pytest.MonkeyPatch) -> None:
    hand = iter([100.0, 101.0, 103.5, 110.0, 200.0, 207.0])
    monkeypatch.setattr(laps, "now", lambda: next(hand))
    found = laps.Laps()
    assert [found.end(name) for name in ("start", "read", "start")] == [1.0, 2.5, 6.5]
    assert found.seconds == {"start": 7.5, "read": 2.5} and found.elapsed_s == 10.0
    found.restart()
    assert found.end("read") == found.elapsed_s == 7.0 and found.seconds == {"read": 7.0}
