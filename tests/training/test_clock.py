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
        hand.now += 0.2
        assert clock() == pytest.approx(began + 0.2)
        for gap_s in (8.0, 0.5):
            before, gaps_before_s = clock(), clock.gaps_s
            hand.now += gap_s
            assert clock() == pytest.approx(before, abs=0.06)
            assert clock.gaps_s - gaps_before_s == pytest.approx(gap_s, abs=0.06)


def test_time_in_which_the_process_computes_counts(hand: Hand) -> None:
    """A computation that holds Python's lock keeps the thread from looking."""
    worked = Hand()
    clock = Clock(hand, worked)
    with clock.watched():
        with clock._lock:
            hand.now += 8.0
            worked.now += 7.9
        clock()
    assert clock.gaps_s == 0.0


def test_a_wait_is_a_gap_but_for_what_is_computed_meanwhile(hand: Hand) -> None:
    clock = Clock(hand)
    with clock.watched():
        for duration_s, at_work_s, gap_s in ((0.2, 0.0, 0.0), (2.0, 0.5, 1.5), (0.5, 0.6, 0.0)):
            before, gaps_before_s = clock(), clock.gaps_s
            with clock.waiting(at_work_s):
                for _ in range(round(duration_s / 0.1)):
                    hand.now += 0.1
                    clock()
            assert clock.gaps_s - gaps_before_s == pytest.approx(gap_s)
            assert clock() - before == pytest.approx(duration_s - gap_s)
    with clock.waiting(0.0):
        hand.now += 9.0
    assert clock.gaps_s == pytest.approx(1.5), "outside of a session"


def test_without_a_watch_every_time_counts(hand: Hand) -> None:
    clock = Clock(hand)
    began = clock()
    hand.now += 100.0
    assert clock() == began + 100.0 and clock.gaps_s == 0.0


def test_a_long_computation_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread does not look at the clock meanwhile; another one does."""
    monkeypatch.setattr("mlx_tiny.training.clock._SHORTEST_GAP_S", 0.5)
    clock = Clock()
    with clock.watched():
        began = clock()
        time.sleep(0.7)
        assert clock() - began >= 0.7 and clock.gaps_s == 0.0
