"""The law gives back what it was made from, widens where it knows less, and counts repeated text as it should."""

from __future__ import annotations

import math

import pytest

from mlx_tiny.study.law import Law, MeasuredRun, Surface, effective_tokens

SURFACE = Surface(0.5, 12.0, 0.28, 60.0, 0.38)
RUNS = [MeasuredRun("mini", 1_000_000, tokens, 10**9, 0, 1.0) for tokens in (100_000, 1_000_000)]


def law(resampled: list[Surface], residual: float = 0.0) -> Law:
    return Law("stories", "strongest", {}, SURFACE, resampled, residual, RUNS)


def test_a_surface_is_the_sum_of_its_three_terms() -> None:
    assert SURFACE.bits_per_byte(1e6, 1e5) == pytest.approx(0.5 + 12 * 1e6**-0.28 + 60 * 1e5**-0.38)


@pytest.mark.parametrize(
    ("tokens", "unique", "expected"),
    [
        (10.0, math.inf, 10.0),
        (10.0, 10.0, 10.0),
        # arXiv 2305.16264, equation 5, with R_D* = 15.39: four epochs are nearly worth four texts.
        (40.0, 10.0, 10 + 10 * 15.39 * (1 - math.exp(-3 / 15.39))),
        (1e9, 10.0, 163.9),
    ],
)
def test_text_that_is_read_again_counts_less(tokens: float, unique: float, expected: float) -> None:
    assert effective_tokens(tokens, unique) == pytest.approx(expected)


def test_the_interval_has_the_scatter_of_runs_and_of_surfaces() -> None:
    alone = law([], residual=0.01).expected(1e6, 5e5)
    assert alone.bits_per_byte == SURFACE.bits_per_byte(1e6, 5e5)
    assert (alone.low, alone.high) == pytest.approx(
        (alone.bits_per_byte * math.exp(-0.0196), alone.bits_per_byte * math.exp(0.0196))
    )
    others = [Surface(floor, 12.0, 0.28, 60.0, 0.38) for floor in (0.4, 0.6)]
    both = law(others, residual=0.01).expected(1e6, 5e5)
    assert both.low < 0.95 * alone.low and both.high > 1.05 * alone.high


def test_a_law_says_where_it_was_not_measured() -> None:
    assert law([]).expected(1e6, 5e5).outside == ""
    assert "size" in law([]).expected(5e6, 5e5).outside
    assert "tokens" in law([]).expected(1e6, 5e6).outside
    assert law([]).expected(1e6, 5e6, unique_tokens=10_000).outside == "", "100 epochs are worth 160,000 tokens"
