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
    assert found.margin_95 == pytest.approx(4.302653 * math.sqrt(7) / 3)


def test_one_number_has_no_std() -> None:
    lone = Mean.of([0.7])
    assert (lone.std, lone.standard_error, lone.margin_95, lone.p_value) == (None, None, None, None)


# Tables of Student's t, as in Abramowitz and Stegun 26.10: degrees of freedom, and quantiles 0.975 and 0.9995.
@pytest.mark.parametrize(
    ("freedom", "quantile", "far"),
    [(1, 12.706, 636.619), (2, 4.303, 31.598), (3, 3.182, 12.924), (4, 2.776, 8.610), (29, 2.045, 3.659)],
)
def test_interval_and_p_value_are_those_of_the_tables(freedom: int, quantile: float, far: float) -> None:
    for t, probability, error in ((quantile, 0.05, 2e-4), (far, 0.001, 2e-6)):
        found = Mean(t / math.sqrt(freedom + 1), 1.0, freedom + 1)
        assert found.p_value == pytest.approx(probability, abs=error)
        assert Mean(-found.mean, found.std, found.count).p_value == found.p_value
    assert Mean(0.0, 1.0, freedom + 1).margin_95 == pytest.approx(quantile / math.sqrt(freedom + 1), abs=5e-4)


def test_equal_differences_are_certain_or_none() -> None:
    assert Mean.of([0.0, 0.0]).p_value == 1 and Mean.of([0.25, 0.25]).p_value == 0
    assert Mean.of([-1.0, 1.0]).p_value == pytest.approx(1)


def test_differences_are_taken_pair_by_pair() -> None:
    found = Mean.of_differences([0.70, 0.72, 0.71], [0.80, 0.83, 0.84])
    assert found.mean == pytest.approx(-0.34 / 3)
    assert found.standard_error == pytest.approx(math.sqrt((0.0133333**2 + 0.0033333**2 + 0.0166667**2) / 6), rel=1e-4)
