"""Settings of the texts that a model writes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mlx_tiny.config.checks import require, require_representable


@dataclass(frozen=True)
class Sampling:
    """How the tokens of a text are drawn."""

    temperature: float = 0.8
    """Higher values give more varied text; 0 always takes the likeliest token."""
    top_p: float = 0.95
    """Draw from the smallest set of tokens whose probabilities add up to this."""
    top_k: int = 0
    """Draw from so many likeliest tokens; 0 draws from all."""
    min_p: float = 0.0
    """Draw from the tokens that have at least this share of the likeliest token's probability."""
    repetition_penalty: float = 1.0
    """Makes tokens that occurred shortly before less likely; 1 leaves them as they are."""
    seed: int = 0
    """Seed of the random numbers; the same seed gives the same text."""
    max_tokens: int = 256
    """Largest number of tokens to write."""

    def __post_init__(self) -> None:
        for name, holds, expected in (
            ("temperature", 0 <= self.temperature < math.inf, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 to 1"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("min_p", 0 <= self.min_p <= 1, "0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0"),
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
        ):
            require(holds, name, expected, getattr(self, name))
        require_representable(self)
