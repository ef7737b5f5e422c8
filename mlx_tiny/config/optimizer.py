"""Settings of Muon and AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from mlx_tiny.config.checks import require, require_choices, require_representable

LEARNING_RATE = "learning_rate"
"""A dial for all rates together, on the scale that users of AdamW know; see `without_dial`."""
RATES = ("matrix_rate", "matrix_adamw_rate", "embedding_rate", "head_rate", "scalar_rate")


@dataclass(frozen=True)
class OptimizerConfig:
    """Learning rates at their peak, and the constants of Muon and AdamW."""

    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        "matrix_optimizer": ("muon", "adamw"),
        "coefficients": ("quintic", "polar_express"),
    }

    matrix_optimizer: str = "muon"
    """Optimizer of the matrices of the layers, `muon` or `adamw`; all other parameters are trained by AdamW."""
    matrix_rate: float = 0.02
    """Peak learning rate of Muon; the update of a matrix has this spectral norm, times sqrt(rows / columns) if tall."""
    matrix_adamw_rate: float = 0.003
    """Peak learning rate of the matrices of the layers where AdamW trains them."""
    embedding_rate: float = 0.2
    """Peak learning rate of the embedding."""
    head_rate: float = 0.02
    """Peak learning rate of the output head, where it is not tied to the embedding."""
    scalar_rate: float = 0.01
    """Peak learning rate of norm weights and residual scales."""
    matrix_decay: float = 0.01
    """Weight decay of Muon; decoupled, and multiplied by the learning rate."""
    adamw_decay: float = 0.0
    """Weight decay of AdamW on embedding and head; decoupled, and multiplied by the learning rate."""
    momentum: float = 0.95
    """Momentum of Muon after its warm-up."""
    momentum_start: float = 0.85
    """Momentum of Muon at the first step."""
    momentum_warmup: float = 0.1
    """Fraction of the budget over which the momentum rises."""
    coefficients: str = "polar_express"
    """Coefficients of Muon's Newton-Schulz steps: `quintic` (Jordan 2024) or `polar_express` (arXiv 2505.16932)."""
    newton_schulz_steps: int = 5
    """Number of Newton-Schulz steps in Muon."""
    adam_beta1: float = 0.9
    """Decay rate of the first moment of AdamW."""
    adam_beta2: float = 0.95
    """Decay rate of the second moment of AdamW."""
    adam_epsilon: float = 1e-10
    """Number that AdamW adds to the root of the second moment."""
    clip_norm: float = 0.0
    """Largest norm of all gradients together; larger ones are scaled down to it. 0 turns this off."""

    def __post_init__(self) -> None:
        require_choices(self)
        for name in RATES:
            require(0 < getattr(self, name) < math.inf, name, "above 0, finite", getattr(self, name))
        for name in ("momentum", "momentum_start", "momentum_warmup", "adam_beta1", "adam_beta2"):
            require(0 <= getattr(self, name) < 1, name, "0 to below 1", getattr(self, name))
        for name in ("matrix_decay", "adamw_decay", "clip_norm"):
            require(0 <= getattr(self, name) < math.inf, name, "0 or more, finite", getattr(self, name))
        require(0 < self.adam_epsilon < math.inf, "adam_epsilon", "above 0, finite", self.adam_epsilon)
        require(1 <= self.newton_schulz_steps <= 10, "newton_schulz_steps", "1 to 10", self.newton_schulz_steps)
        require_representable(self)


def without_dial(asked: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The user's settings of the optimizer, with `learning_rate` as the rates that it stands for.

    It becomes the rate of matrices under AdamW, and all other rates change by the same factor. A rate that the user
    names too is as named.

    Args:
        before: the settings without those of the user, or some rates, that of matrices under AdamW among them.

    Raises:
        TinyError: `learning_rate` is out of range.
    """
    own = dict(asked)
    if (rate := own.pop(LEARNING_RATE, None)) is None:
        return own
    require(0 < rate < math.inf, LEARNING_RATE, "above 0, finite", rate)
    factor = rate / before["matrix_adamw_rate"]
    rates = {name: float(f"{factor * before[name]:.6g}") for name in RATES if name in before}
    return {**rates, "matrix_adamw_rate": rate, **own}
