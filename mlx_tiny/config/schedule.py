"""Settings of the learning rate over a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlx_tiny.config.checks import require, require_choices, require_representable

MIDDLE, BEGINNING = MOMENTS = ("middle", "beginning")


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate, relative to its peak, as a function of the fraction of the budget that is spent."""

    choices: ClassVar[dict[str, tuple[str, ...]]] = {"rate_at": MOMENTS}

    warmup: float = 0.03
    """Fraction of the budget over which the learning rate rises linearly from 0."""
    cooldown: float = 0.5
    """Fraction of the budget, at its end, over which the learning rate falls linearly."""
    floor: float = 0.0
    """Learning rate at the end, relative to the peak."""
    rate_at: str = MIDDLE
    """Where in a step its learning rate and momentum are taken: `middle`, or `beginning`, where the first step of a
    warm-up has rate 0."""

    def __post_init__(self) -> None:
        for name in ("warmup", "cooldown", "floor"):
            require(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))
        require(self.warmup + self.cooldown <= 1, "warmup + cooldown", "at most 1", self.warmup + self.cooldown)
        require_choices(self)
        require_representable(self)
