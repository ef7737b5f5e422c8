"""Learning-rate multiplier and momentum, as functions of the fraction of the budget that is spent."""

from __future__ import annotations

from mlx_tiny.config import OptimizerConfig, ScheduleConfig


def rate_multiplier(config: ScheduleConfig, fraction: float) -> float:
    """Trapezoid: linear warm-up from 0, constant 1, linear cool-down to `floor`.

    Args:
        fraction: of the budget that is spent; outside of 0 to 1 the nearest of these is used.
    """
    fraction = min(max(fraction, 0.0), 1.0)
    if fraction < config.warmup:
        return fraction / config.warmup
    left = 1.0 - fraction
    if left < config.cooldown:
        return config.floor + (1.0 - config.floor) * left / config.cooldown
    return 1.0


def muon_momentum(config: OptimizerConfig, fraction: float) -> float:
    """Linear from `momentum_start` to `momentum` over the first `momentum_warmup` of the budget, then constant."""
    fraction = max(fraction, 0.0)
    if fraction >= config.momentum_warmup:
        return config.momentum
    share = fraction / config.momentum_warmup
    return config.momentum_start + share * (config.momentum - config.momentum_start)
