"""Interleaved timing, and ratios of each round."""

from __future__ import annotations

import gc

import pytest

from mlx_tiny.bench.timing import LEAST_ROUNDS, MOST_ROUNDS, interleaved, speed_ups
from mlx_tiny.tools.statistics import Spread


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


def test_a_speed_up_is_that_over_each_base_that_was_measured() -> None:
    durations = {"a": [2.0] * 5, "b": [1.0] * 5, "c": [1.0] * 5}
    assert speed_ups(durations, "b", ["a", "b", "not measured"]) == {"a": Spread(2.0, 2.0, 2.0, 5, False)}
