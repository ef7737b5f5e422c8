"""Interleaved timing of tasks."""

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
    """Durations of each task in seconds. The tasks take turns, so that whatever slows the machine affects all of them.

    Every other round is in reverse order, so that no task always follows the same one. There is no warm-up.

    Args:
        tasks: by name; each returns when its work is done.
        seconds: about how long to measure; there are at least `LEAST_ROUNDS` rounds.
        clock: returns the time in seconds.

    Returns:
        For each task a duration per round, in the order of the rounds.
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
    """How many times faster a task is than others, as ratios of the same rounds.

    Args:
        durations: of all tasks, from `interleaved`.
        own: name of the task.
        bases: names to compare it with; its own name and names without durations are ignored.
    """
    compared = [base for base in bases if base in durations and base != own]
    return {base: Spread.of_ratios(durations[base], durations[own]) for base in compared}
