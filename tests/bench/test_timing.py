"""Spreads, turn-taking, and ratios round by round."""

from __future__ import annotations

import gc

import pytest

from mlx_tiny.bench.timing import LEAST_ROUNDS, MOST_ROUNDS, Spread, interleaved, speed_ups


class Clock:
    """A clock that tasks move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def task(self, name: str, seconds: float):
        def run() -> None:
            self.order.append(name)
            self.now += seconds

        return run


@pytest.mark.parametrize(
    ("values", "median", "p10", "p90"),
    [
        ([3.0], 3, 3, 3),
        ([2.0, 1.0], 1.5, 1.1, 1.9),
        ([5.0, 1.0, 4.0, 2.0, 3.0], 3, 1.4, 4.6),
        (list(range(11)), 5, 1, 9),
    ],
)
def test_percentiles_by_hand(values: list[float], median: float, p10: float, p90: float) -> None:
    spread = Spread.of(values)
    assert (spread.median, spread.p10, spread.p90) == pytest.approx((median, p10, p90))
    assert spread.count == len(values)
    assert spread.relative == pytest.approx((p90 - p10) / median)


@pytest.mark.parametrize(("slowest", "too_wide"), [(1.29, False), (1.31, True)])
def test_a_spread_over_thirty_per_cent_is_too_wide(slowest: float, too_wide: bool) -> None:
    # Of eleven, p10 and p90 are the second lowest and the second highest.
    assert Spread.of([1.0] * 9 + [slowest] * 2).too_wide is too_wide


def test_nothing_measured_in_no_time_has_no_spread() -> None:
    assert not Spread.of([0.0, 0.0]).too_wide


def test_tasks_take_turns_and_every_other_round_goes_backwards() -> None:
    clock = Clock()
    tasks = {name: clock.task(name, seconds) for name, seconds in (("a", 1.0), ("b", 2.0), ("c", 4.0))}
    durations = interleaved(tasks, seconds=0, clock=clock)
    assert clock.order == list("abccba" * LEAST_ROUNDS)[: 3 * LEAST_ROUNDS]
    assert durations == {"a": [1.0] * LEAST_ROUNDS, "b": [2.0] * LEAST_ROUNDS, "c": [4.0] * LEAST_ROUNDS}


@pytest.mark.parametrize(("seconds", "rounds"), [(1.0, LEAST_ROUNDS), (10.0, 10), (1e6, MOST_ROUNDS)])
def test_rounds_are_made_until_the_time_is_spent(seconds: float, rounds: int) -> None:
    clock = Clock()
    assert len(interleaved({"a": clock.task("a", 1.0)}, seconds=seconds, clock=clock)["a"]) == rounds


def test_garbage_is_not_collected_inside_and_is_again_afterwards() -> None:
    seen = []
    interleaved({"a": lambda: seen.append(gc.isenabled())}, seconds=0)
    assert not any(seen) and gc.isenabled()

    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        interleaved({"a": fail}, seconds=0)
    assert gc.isenabled()


def test_a_spread_as_the_fields_of_a_record() -> None:
    assert Spread.of([1.0, 2.0, 3.0]).to_dict() == {
        "median_s": 2.0,
        "p10_s": pytest.approx(1.2),
        "p90_s": pytest.approx(2.8),
        "rounds": 3,
        "spread": pytest.approx(0.8),
        "overloaded": True,
    }


def test_a_speed_up_is_taken_round_by_round() -> None:
    # The machine halves its speed in the last two rounds; the ratio does not see it, but that it was loaded is said.
    durations = {"a": [2.0, 2.0, 2.0, 4.0, 4.0], "b": [1.0, 1.0, 1.0, 2.0, 2.0], "c": [1.0] * 5}
    found = speed_ups(durations, "b", ["a", "b", "not measured"])
    assert found == {"a": {"median": 2.0, "p10": 2.0, "p90": 2.0, "overloaded": True}}


@pytest.mark.parametrize(("base", "own"), [("calm", "loaded"), ("loaded", "calm")])
def test_a_ratio_is_to_be_trusted_as_far_as_both_its_sides(base: str, own: str) -> None:
    durations = {"calm": [1.0] * 5, "quiet": [1.0] * 5, "loaded": [1.0, 1.0, 1.0, 2.0, 2.0]}
    assert speed_ups(durations, own, [base])[base]["overloaded"]
    assert not speed_ups(durations, "calm", ["quiet"])["quiet"]["overloaded"]
