"""Learning-rate multiplier and momentum at a fraction of the budget."""

from __future__ import annotations

from mlx_tiny.config import OptimizerConfig, ScheduleConfig


def rate_multiplier(config: ScheduleConfig, fraction: float) -> float:
    """The smallest of three lines: up during warm-up, level at 1, down to `floor` at the end.

    Args:
        fraction: of the budget spent, 0 to 1; beyond 1 the value at 1 holds.
    """
    fraction = min(max(fraction, 0.0), 1.0)
    rising = fraction / config.warmup if config.warmup else 1.0
    left = (1 - fraction) / config.cooldown if config.cooldown else 1.0
    falling = config.floor + (1 - config.floor) * left
    return min(rising, 1.0, falling)


def muon_momentum(config: OptimizerConfig, fraction: float) -> float:
    """From `momentum_start` to `momentum` along a line over the first `momentum_warmup` of the budget, then level."""
    progress = min(max(fraction, 0.0) / config.momentum_warmup, 1.0) if config.momentum_warmup else 1.0
    return (1 - progress) * config.momentum_start + progress * config.momentum
