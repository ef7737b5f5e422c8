"""Divergence."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest

from mlx_tiny.training.watch import Diverged, LossWatch


def see_all(losses: list[float]) -> LossWatch:
    watch = LossWatch()
    for step, loss in enumerate(losses, 1):
        watch.see(step, loss)
    return watch


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("before", [[], [3.0] * 5])
def test_nan_stops_the_run(bad: float, before: list[float]) -> None:
    with pytest.raises(Diverged, match=f"became {bad} at step {len(before) + 1}"):
        see_all([*before, bad])


def test_a_loss_that_climbs_away_stops_the_run() -> None:
    falling = list(np.linspace(7, 3, 100))
    with pytest.raises(Diverged, match=r"diverging: at step 1[0-9][0-9] "):
        see_all([*falling, *np.linspace(3, 12, 90)])


def test_a_loss_that_stays_high_stops_the_run() -> None:
    with pytest.raises(Diverged, match="diverging"):
        see_all([*np.linspace(7, 2, 100), *[6.0] * 100])


@pytest.mark.parametrize(
    "losses",
    [
        list(np.linspace(7, 1, 300)),
        [7.0] * 200,
        [*np.linspace(7, 3, 100), *[9.0] * 3, *[3.0] * 50, *[9.0] * 3, *[3.0] * 50],
        [*np.linspace(7, 3, 100), 30.0, *[3.0] * 50],
        [*np.linspace(7, 3, 100), *np.linspace(3, 4.5, 200)],
        list(5 + np.random.default_rng(0).standard_normal(1000)),
        [3.0, 8.0, 7.0, 6.0],
    ],
    ids=["falling", "flat", "spikes that heal", "one large spike", "a slow rise", "noise", "a bad start"],
)
def test_a_loss_that_heals_goes_on(losses: list[float]) -> None:
    watch = see_all(losses)
    assert watch.lowest <= watch.mean < watch.lowest + 2


def test_the_mean_remembers_about_twenty_steps() -> None:
    watch = see_all([4.0] + [3.0] * 20)
    assert watch.mean == pytest.approx(3 + 0.95**20)
    assert watch.lowest == watch.mean


def test_a_watch_goes_on_where_it_was_saved() -> None:
    losses = [float(x) for x in 5 + np.random.default_rng(1).standard_normal(60)]
    whole, half = see_all(losses), see_all(losses[:30])
    resumed = LossWatch(**asdict(half))
    for step, loss in enumerate(losses[30:], 31):
        resumed.see(step, loss)
    assert resumed == whole
