"""What a run may spend, what it has spent, and when it must stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mlx_tiny.errors import TinyError
from mlx_tiny.units import format_count, format_seconds, parse_quantity


@dataclass
class Budget:
    """An amount of one quantity, and the running account of all of them.

    The clock runs from the first `start` on, through steps, evaluations along the way and checkpoints; a resumed run
    starts with what was spent before.
    """

    text: str
    """As the user wrote it, for example "5m"."""
    spent_tokens: int = 0
    spent_flops: float = 0.0
    spent_s: float = 0.0
    """Seconds of earlier sessions of the run; `seconds` adds this session's."""
    clock: Callable[[], float] = time.monotonic
    _started_at: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.quantity, self.amount = parse_quantity(self.text)
        if self.quantity == "joules":
            raise TinyError(
                f"The budget {self.text!r} is in joules, and this version reads no energy meter",
                expected="seconds, tokens or FLOPs",
                remedy="Use for example --budget 5m, 20Mtok or 1e15flop",
            )

    def start(self) -> None:
        """Start this session's clock; calling it again changes nothing."""
        if self._started_at is None:
            self._started_at = self.clock()

    def charge(self, tokens: int, flops: float) -> None:
        """Add one step's tokens and model FLOPs to the account."""
        self.spent_tokens += tokens
        self.spent_flops += flops

    @property
    def seconds(self) -> float:
        """Wall-clock seconds spent, over all sessions of the run."""
        return self.spent_s + (0.0 if self._started_at is None else self.clock() - self._started_at)

    @property
    def spent(self) -> float:
        """What has been spent, in the budget's own unit."""
        return {"seconds": self.seconds, "tokens": self.spent_tokens, "flops": self.spent_flops}[self.quantity]

    @property
    def fraction(self) -> float:
        """Share of the budget spent, 0 to about 1."""
        return self.spent / self.amount

    def exhausted(self, step_cost: float) -> bool:
        """Whether another step, of `step_cost` in the budget's unit, would overshoot by more than now falls short."""
        return self.spent + step_cost / 2 >= self.amount

    def describe(self) -> str:
        """The amount in words: "5m00s of wall-clock time", "20M tokens", "1P FLOPs"."""
        if self.quantity == "seconds":
            return f"{format_seconds(self.amount)} of wall-clock time"
        return f"{format_count(self.amount)} {'FLOPs' if self.quantity == 'flops' else self.quantity}"
