"""The clock of a session, under which another clock is planted."""

from __future__ import annotations

import time

import pytest

from mlx_tiny.training.clock import Clock


class Hand:
    """A clock that shows the time to which it was set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_short_times_count_and_a_gap_does_not(hand: Hand) -> None:
    clock = Clock(hand)
    with clock.watched():
        began = clock()
        hand.now += 0.9
        assert clock() == pytest.approx(began + 0.9)
        hand.now += 8.0
        assert clock() == pytest.approx(began + 0.9, abs=0.25) and clock.gaps_s == pytest.approx(8.0, abs=0.25)
        hand.now += 0.9
        assert clock() == pytest.approx(began + 1.8, abs=0.25)


@pytest.mark.parametrize(("step_s", "gap"), [(0.5, True), (1.0, False)])
def test_what_is_not_longer_than_many_steps_counts(hand: Hand, step_s: float, gap: bool) -> None:
    clock = Clock(hand)
    clock.step_s = step_s
    with clock.watched():
        hand.now += 8.0
        clock()
    assert (clock.gaps_s > 0) is gap


def test_without_a_watch_every_time_counts(hand: Hand) -> None:
    clock = Clock(hand)
    began = clock()
    hand.now += 100.0
    assert clock() == began + 100.0 and clock.gaps_s == 0.0


def test_a_long_computation_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread does not look at the clock meanwhile; another one does."""
    monkeypatch.setattr("mlx_tiny.training.clock._SHORTEST_GAP_S", 0.5)
    monkeypatch.setattr("mlx_tiny.training.clock._BEAT_S", 0.02)
    clock = Clock()
    with clock.watched():
        began = clock()
        time.sleep(0.7)
        assert clock() - began >= 0.7 and clock.gaps_s == 0.0
