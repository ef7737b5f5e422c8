"""Durations of tasks that are measured in turn, and what may be said of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Beyond this spread a machine is too loaded, or too hot, for its figures to be taken at their word.
LARGEST_SPREAD = 0.30
LEAST_ROUNDS, MOST_ROUNDS = 5, 200


@dataclass(frozen=True)
class Spread:
    """The middle of some figures, and where the lowest and the highest tenth of them begin."""

    median: float
    p10: float
    p90: float
    count: int

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of at least one figure; between two figures a percentile is interpolated."""
        ordered = sorted(values)
        median, p10, p90 = (_percentile(ordered, share) for share in (0.5, 0.1, 0.9))
        return Spread(median, p10, p90, len(ordered))

    @property
    def relative(self) -> float:
        """The distance from p10 to p90 as a part of the median."""
        return (self.p90 - self.p10) / self.median if self.median else 0.0

    @property
    def too_wide(self) -> bool:
        """Whether the machine was too loaded to measure."""
        return self.relative > LARGEST_SPREAD

    def to_dict(self) -> dict[str, Any]:
        """The fields of a record whose figures are seconds."""
        return {
            "median_s": self.median,
            "p10_s": self.p10,
            "p90_s": self.p90,
            "rounds": self.count,
            "spread": self.relative,
            "overloaded": self.too_wide,
        }


def _percentile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def interleaved(
    tasks: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Durations of each task in seconds, all tasks taking turns, so that what slows the machine slows them alike.

    Every other round goes backwards, so that no task always follows the same one. Nothing is warmed up here.

    Args:
        tasks: by name; each returns when its work is done.
        seconds: time to spend, about; at least `LEAST_ROUNDS` rounds are made, however long they take.
        clock: gives the time in seconds.

    Returns:
        For each task as many durations as there were rounds, in the order of the rounds.
    """
    durations: dict[str, list[float]] = {name: [] for name in tasks}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        started = clock()
        for number in range(MOST_ROUNDS):
            if number >= LEAST_ROUNDS and clock() - started >= seconds:
                break
            for name in list(tasks)[:: -1 if number % 2 else 1]:
                began = clock()
                tasks[name]()
                durations[name].append(clock() - began)
    finally:
        if collecting:
            gc.enable()
    return durations


def speed_ups(durations: Mapping[str, Sequence[float]], own: str, bases: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How many times faster a task is than others, round by round of the same turn-taking.

    Args:
        durations: of all tasks.
        own: name of the task in question.
        bases: what to compare it with; names without durations, and its own, are left aside.

    Returns:
        By base `median`, `p10` and `p90`, and `overloaded`: whether the machine was too loaded to measure either side.
    """
    found = {}
    for base in bases:
        if base in durations and base != own:
            pairs = zip(durations[base], durations[own], strict=True)
            ratio = Spread.of([other / mine for other, mine in pairs])
            overloaded = any(Spread.of(durations[name]).too_wide for name in (base, own))
            found[base] = {"median": ratio.median, "p10": ratio.p10, "p90": ratio.p90, "overloaded": overloaded}
    return found
