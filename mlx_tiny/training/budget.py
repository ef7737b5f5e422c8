"""The budget of a run: how much it may spend, how much it has spent, and when it stops."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mlx_tiny.errors import TinyError
from mlx_tiny.units import format_count, format_seconds, parse_quantity

_LARGEST = {"seconds": 1e9, "tokens": 1e15, "flops": 1e30, "steps": 1e12}
"""No run has as much: 30 years, and more than the largest models have taken."""


@dataclass
class Budget:
    """An amount of seconds, tokens, FLOPs or steps, and the account of all four.

    The clock runs from the first `start` on, through steps, evaluations and checkpoints. A resumed run starts with what
    earlier sessions spent.
    """

    text: str
    """As the user wrote it, for example "5m"."""
    spent_tokens: int = 0
    spent_flops: float = 0.0
    spent_s: float = 0.0
    """Seconds that earlier sessions of the run took; the property `seconds` adds those of this session."""
    clock: Callable[[], float] = time.monotonic
    spent_steps: int = 0
    aside_s: float = 0.0
    """Of a budget in seconds, at its end: for what follows the last step."""
    _started_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.quantity, self.amount = parse_quantity(self.text)
        if self.quantity == "joules":
            raise TinyError(
                f"The budget {self.text!r} is in joules, and this version reads no energy meter",
                expected="seconds, tokens, FLOPs or steps",
                remedy="Use for example --budget 5m, 20Mtok or 1e15flop",
            )
        if self.amount > _LARGEST[self.quantity]:
            raise TinyError(
                f"The budget {self.text!r} is out of range",
                expected=f"at most {self._in_words(_LARGEST[self.quantity])}",
            )

    def start(self) -> None:
        """Start this session's clock; calling it again changes nothing."""
        if self._started_at is None:
            self._started_at = self.clock()

    @property
    def started(self) -> bool:
        """Whether the clock of this session runs."""
        return self._started_at is not None

    def charge(self, tokens: int, flops: float) -> None:
        """Add one step, and its tokens and model FLOPs, to the account."""
        self.spent_steps += 1
        self.spent_tokens += tokens
        self.spent_flops += flops

    @property
    def seconds(self) -> float:
        """Wall-clock seconds spent, over all sessions of the run."""
        return self.spent_s + (0.0 if self._started_at is None else self.clock() - self._started_at)

    @property
    def spent(self) -> float:
        """What has been spent, in the unit of the budget."""
        counts = {"tokens": self.spent_tokens, "flops": self.spent_flops, "steps": self.spent_steps}
        return self.seconds if self.quantity == "seconds" else counts[self.quantity]

    @property
    def fraction(self) -> float:
        """The fraction of the budget for steps that is spent, 0 to about 1."""
        return self.spent / self._for_steps

    def middle_of_step(self, step_cost: float) -> float:
        """The fraction spent in the middle of the next step, which costs `step_cost` in the unit of the budget."""
        return (self.spent + step_cost / 2) / self._for_steps

    def exhausted(self, step_cost: float) -> bool:
        """Whether stopping now is closer to the budget than another step: the middle of that would lie beyond it."""
        return self.middle_of_step(step_cost) >= 1

    @property
    def _for_steps(self) -> float:
        return self.amount - self.aside_s

    def equals(self, text: str | None) -> bool:
        """Whether `text` is the same amount, perhaps written in another way, as "300s" and "5m" are."""
        return text is not None and parse_quantity(text) == (self.quantity, self.amount)

    def describe(self) -> str:
        """The amount in words: "5m00s of wall-clock time", "20M tokens", "1P FLOPs"."""
        return self._in_words(self.amount)

    def describe_spent(self) -> str:
        """What has been spent, in the same words."""
        return self._in_words(self.spent)

    def _in_words(self, amount: float) -> str:
        if self.quantity == "seconds":
            return f"{format_seconds(amount)} of wall-clock time"
        return f"{format_count(amount)} {'FLOPs' if self.quantity == 'flops' else self.quantity}"


class Milestones:
    """Fractions k / count, for k = 1 ... count - 1, each due once."""

    def __init__(self, count: int, fraction: float) -> None:
        self._fractions = deque(k / count for k in range(1, count) if k / count > fraction)

    def due(self, fraction: float) -> bool:
        """Whether one or more were reached since the last call."""
        reached = False
        while self._fractions and fraction >= self._fractions[0]:
            self._fractions.popleft()
            reached = True
        return reached
