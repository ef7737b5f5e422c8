"""Durations of tasks that are measured in turn, and what may be said of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from mlx_tiny.tools.statistics import Spread

LEAST_ROUNDS, MOST_ROUNDS = 5, 200


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


def speed_ups(durations: Mapping[str, Sequence[float]], own: str, bases: Iterable[str]) -> dict[str, Spread]:
    """How many times faster a task is than others, round by round of the same turn-taking.

    Args:
        durations: of all tasks.
        own: name of the task in question.
        bases: what to compare it with; names without durations, and its own, are left aside.
    """
    compared = [base for base in bases if base in durations and base != own]
    return {base: Spread.of_ratios(durations[base], durations[own]) for base in compared}
