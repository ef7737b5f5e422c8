"""Spreads and means of known numbers."""

from __future__ import annotations

import math

import pytest

from mlx_tiny.tools.statistics import Mean, Spread


@pytest.mark.parametrize(
    ("values", "median", "p10", "p90"),
    [
        ([3.0], 3, 3, 3),
        ([2.0, 1.0], 1.5, 1.1, 1.9),
        ([5.0, 1.0, 4.0, 2.0, 3.0], 3, 1.4, 4.6),
        (list(range(11)), 5, 1, 9),
    ],
)
def test_percentiles_by_hand(values: list[float], median: float, p10: float, p90: float) -> None:
    spread = Spread.of(values)
    assert (spread.median, spread.p10, spread.p90) == pytest.approx((median, p10, p90))
    assert spread.count == len(values)
    assert spread.relative == pytest.approx((p90 - p10) / median)


# Of eleven, p10 and p90 are the second lowest and the second highest.
@pytest.mark.parametrize(("slowest", "overloaded"), [(1.29, False), (1.31, True)])
def test_a_spread_over_thirty_per_cent_is_of_an_overloaded_machine(slowest: float, overloaded: bool) -> None:
    assert Spread.of([1.0] * 9 + [slowest] * 2).overloaded is overloaded
    assert not Spread.of([0.0, 0.0]).overloaded and Spread.of([0.0, 0.0]).relative == 0


def test_a_ratio_is_taken_pair_by_pair_and_trusted_as_far_as_both() -> None:
    # The machine halves its speed in the last two rounds; the ratio does not see it, but that it was loaded is said.
    loaded, calm = [2.0, 2.0, 2.0, 4.0, 4.0], [1.0] * 5
    assert Spread.of_ratios(loaded, [1.0, 1.0, 1.0, 2.0, 2.0]) == Spread(2.0, 2.0, 2.0, 5, True)
    assert Spread.of_ratios(loaded, calm).overloaded and Spread.of_ratios(calm, loaded).overloaded
    assert not Spread.of_ratios(calm, calm).overloaded


def test_the_mean_of_known_figures() -> None:
    found = Mean.of([1.0, 2.0, 4.0])
    assert found.mean == pytest.approx(7 / 3)
    assert found.std == pytest.approx(math.sqrt(7 / 3))
    assert found.standard_error == pytest.approx(math.sqrt(7) / 3)
    assert found.margin_95 == pytest.approx(4.303 * math.sqrt(7) / 3)


def test_one_number_has_no_std_and_many_take_the_last_quantile() -> None:
    lone, many = Mean.of([0.7]), Mean.of([float(n) for n in range(40)])
    assert (lone.std, lone.standard_error, lone.margin_95) == (None, None, None)
    assert many.margin_95 == pytest.approx(2.228 * (many.standard_error or 0))


def test_differences_are_taken_pair_by_pair() -> None:
    found = Mean.of_differences([0.70, 0.72, 0.71], [0.80, 0.83, 0.84])
    assert found.mean == pytest.approx(-0.34 / 3)
    assert found.standard_error == pytest.approx(math.sqrt((0.0133333**2 + 0.0033333**2 + 0.0166667**2) / 6), rel=1e-4)
