"""Schedules are continuous functions of the fraction of the budget, with known values at both ends."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlx_tiny.config import OptimizerConfig, ScheduleConfig
from mlx_tiny.optim.schedule import muon_momentum, rate_multiplier

SHARES = st.one_of(st.sampled_from([0.0, 1e-3, 0.5, 1.0]), st.floats(1e-3, 1))
FRACTIONS = st.floats(-0.5, 1.5)


@st.composite
def schedules(draw) -> ScheduleConfig:
    warmup = draw(SHARES)
    cooldown = draw(SHARES)
    assume(warmup + cooldown <= 1)
    return ScheduleConfig(warmup=warmup, cooldown=cooldown, floor=draw(st.one_of(st.just(0.0), st.floats(1e-3, 1))))


@st.composite
def optimizers(draw) -> OptimizerConfig:
    share = st.one_of(st.just(0.0), st.floats(1e-3, 0.99))
    warmup = draw(st.one_of(st.just(0.0), st.floats(1e-3, 0.99)))
    return OptimizerConfig(momentum=draw(share), momentum_start=draw(share), momentum_warmup=warmup)


@given(schedules(), FRACTIONS)
def test_the_multiplier_stays_within_its_bounds(config: ScheduleConfig, fraction: float) -> None:
    multiplier = rate_multiplier(config, fraction)
    assert 0 <= multiplier <= 1
    if fraction >= config.warmup:
        assert multiplier >= config.floor - 1e-12


@given(schedules(), st.floats(0, 1), st.floats(0, 1e-4))
def test_the_multiplier_is_continuous(config: ScheduleConfig, fraction: float, step: float) -> None:
    slope = max(1 / config.warmup if config.warmup else 0, 1 / config.cooldown if config.cooldown else 0)
    change = abs(rate_multiplier(config, fraction + step) - rate_multiplier(config, fraction))
    assert change <= slope * step + 1e-9


@given(schedules())
def test_values_of_the_multiplier_at_both_ends(config: ScheduleConfig) -> None:
    assert rate_multiplier(config, 0.0) == (0.0 if config.warmup else pytest.approx(1.0))
    if config.cooldown:
        assert rate_multiplier(config, 1.0) == pytest.approx(config.floor)
    assert rate_multiplier(config, 7.0) == rate_multiplier(config, 1.0)
    assert rate_multiplier(config, -7.0) == rate_multiplier(config, 0.0)
    assert rate_multiplier(config, config.warmup) == pytest.approx(1.0)
    assert rate_multiplier(config, 1 - config.cooldown) == pytest.approx(1.0)


@given(schedules(), st.floats(0, 1), st.floats(0, 1))
def test_the_multiplier_rises_then_falls(config: ScheduleConfig, one: float, other: float) -> None:
    early, late = sorted((one, other))
    if late <= config.warmup:
        assert rate_multiplier(config, early) <= rate_multiplier(config, late) + 1e-12
    if early >= 1 - config.cooldown:
        assert rate_multiplier(config, early) >= rate_multiplier(config, late) - 1e-12
    if config.warmup <= early and late < 1 - config.cooldown:
        assert rate_multiplier(config, early) == rate_multiplier(config, late) == 1.0


@pytest.mark.parametrize(
    ("fraction", "multiplier"),
    [(0.05, 0.25), (0.1, 0.5), (0.2, 1.0), (0.5, 1.0), (0.6, 1.0), (0.8, 0.55), (0.9, 0.325)],
)
def test_the_multiplier_in_numbers(fraction: float, multiplier: float) -> None:
    config = ScheduleConfig(warmup=0.2, cooldown=0.4, floor=0.1)
    assert rate_multiplier(config, fraction) == pytest.approx(multiplier)


@given(optimizers(), FRACTIONS)
def test_the_momentum_stays_between_its_ends(config: OptimizerConfig, fraction: float) -> None:
    low, high = sorted((config.momentum_start, config.momentum))
    assert low - 1e-12 <= muon_momentum(config, fraction) <= high + 1e-12


@given(optimizers(), st.floats(0, 1), st.floats(0, 1e-4))
def test_the_momentum_is_continuous(config: OptimizerConfig, fraction: float, step: float) -> None:
    assume(config.momentum_warmup > 0)
    change = abs(muon_momentum(config, fraction + step) - muon_momentum(config, fraction))
    assert change <= step / config.momentum_warmup + 1e-9


@given(optimizers())
def test_values_of_the_momentum_at_both_ends(config: OptimizerConfig) -> None:
    if config.momentum_warmup:
        assert muon_momentum(config, 0.0) == config.momentum_start
        middle = muon_momentum(config, config.momentum_warmup / 2)
        assert middle == pytest.approx((config.momentum_start + config.momentum) / 2)
    else:
        assert muon_momentum(config, 0.0) == config.momentum
    assert muon_momentum(config, config.momentum_warmup) == config.momentum
    assert muon_momentum(config, 1.0) == config.momentum
