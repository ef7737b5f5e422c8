"""The evaluations and samples of a run along the way, which have a small share of a budget in seconds."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator

from mlx_tiny.config import TrainConfig
from mlx_tiny.records import Progress
from mlx_tiny.training.budget import Budget

SHARE = 0.04
"""Of a budget in seconds, for all of them; steps have the rest."""
SAMPLE_TOKENS = 60
EVALUATED_FASTER = 3
"""A token takes a third as long without its backward pass, measured on two cores."""
_WRITTEN_SLOWER = 30
"""A token takes 30 times as long to write, in a sample of 60 tokens."""


def estimated_s(config: TrainConfig, s_per_token: float) -> dict[str, float]:
    """Seconds that an evaluation and a sample take, by the name of their phase.

    Args:
        s_per_token: of training.
    """
    evaluated = config.evaluation_tokens / EVALUATED_FASTER
    return {"evaluation": evaluated * s_per_token, "samples": SAMPLE_TOKENS * _WRITTEN_SLOWER * s_per_token}


class Pauses:
    """What the evaluations and samples of a session have taken, and which are left out.

    In a budget of tokens, FLOPs or steps, none is.

    Args:
        budget: of the run.
        progress: of earlier sessions.
    """

    def __init__(self, budget: Budget, progress: Progress) -> None:
        self._budget = budget
        self._most_s = SHARE * budget.amount if budget.quantity == "seconds" else math.inf
        self._spent_s = sum(progress.phases.get(name, 0.0) for name in ("evaluation", "samples"))
        self._taken = defaultdict[str, list[float]](list)
        self._left_out = Counter[str]()

    def allow(self, name: str, first_s: float) -> bool:
        """Whether another evaluation or sample fits, by what those of this session have taken; notes if it does not.

        Args:
            name: of its phase.
            first_s: what the first one is expected to take.
        """
        taken = self._taken[name]
        fits = self._spent_s + (statistics.fmean(taken) if taken else first_s) <= self._most_s
        self._left_out[name] += not fits
        return fits

    @contextlib.contextmanager
    def taking(self, name: str) -> Iterator[None]:
        """The block is an evaluation or a sample."""
        began = self._budget.clock()
        yield
        self._taken[name].append(self._budget.clock() - began)
        self._spent_s += self._taken[name][-1]

    def described(self) -> str | None:
        """What was left out, in words."""
        found = [f"{name} {count}" for name, count in self._left_out.items() if count]
        if not found:
            return None
        return f"left out, as they would take more than {SHARE:.0%} of the budget together: {', '.join(found)}"
