"""Learning-rate multiplier and momentum at a fraction of the budget."""

from __future__ import annotations

from mlx_tiny.config import OptimizerConfig, ScheduleConfig


def rate_multiplier(config: ScheduleConfig, fraction: float) -> float:
    """The smallest of three lines: from 0 up during warm-up, constant 1, and down to `floor` at the end.

    Args:
        fraction: of the budget that is spent; outside of 0 to 1 the nearest of these is used.
    """
    fraction = min(max(fraction, 0.0), 1.0)
    rising = fraction / config.warmup if config.warmup else 1.0
    left = (1 - fraction) / config.cooldown if config.cooldown else 1.0
    falling = config.floor + (1 - config.floor) * left
    return min(rising, 1.0, falling)


def muon_momentum(config: OptimizerConfig, fraction: float) -> float:
    """Linear from `momentum_start` to `momentum` over the first `momentum_warmup` of the budget, then constant."""
    progress = min(max(fraction, 0.0) / config.momentum_warmup, 1.0) if config.momentum_warmup else 1.0
    return (1 - progress) * config.momentum_start + progress * config.momentum
