"""Statistics: median and spread, mean and its error, ratios and differences of pairs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LARGEST_SPREAD = 0.30
"""With a larger spread, the machine was too loaded or too hot for a reliable measurement."""
_BISECTIONS = 60


@dataclass(frozen=True)
class Spread:
    """The median of some numbers, and their 10th and 90th percentile."""

    median: float
    p10: float
    p90: float
    count: int
    overloaded: bool
    """Whether the numbers, or the numbers that they are ratios of, spread too much for a reliable measurement."""

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Of at least one number; percentiles are interpolated."""
        ordered = sorted(values)
        median, p10, p90 = (_percentile(ordered, share) for share in (0.5, 0.1, 0.9))
        return Spread(median, p10, p90, len(ordered), p90 - p10 > LARGEST_SPREAD * median)

    @staticmethod
    def of_ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
        """Of the ratios of pairs, so that whatever slows both of a pair cancels."""
        found = Spread.of([a / b for a, b in zip(numerators, denominators, strict=True)])
        overloaded = any(Spread.of(values).overloaded for values in (numerators, denominators))
        return Spread(found.median, found.p10, found.p90, found.count, overloaded)

    @property
    def relative(self) -> float:
        """The distance from p10 to p90, relative to the median."""
        return (self.p90 - self.p10) / self.median if self.median else 0.0


def _percentile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@dataclass(frozen=True)
class Mean:
    """The mean of some numbers, and its error."""

    mean: float
    std: float | None
    """Standard deviation with n - 1; None for a single number."""
    count: int

    @staticmethod
    def of(values: Sequence[float]) -> Mean:
        """Of at least one number."""
        return Mean(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))

    @staticmethod
    def of_differences(first: Sequence[float], second: Sequence[float]) -> Mean:
        """Of the differences, first minus second, of pairs."""
        return Mean.of([a - b for a, b in zip(first, second, strict=True)])

    @property
    def standard_error(self) -> float | None:
        """Standard error of the mean."""
        return None if self.std is None else self.std / math.sqrt(self.count)

    @property
    def margin_95(self) -> float | None:
        """Half the width of the mean's 95 % interval, by Student's t."""
        if self.standard_error is None:
            return None
        return _critical_t(0.05, self.count - 1) * self.standard_error

    @property
    def p_value(self) -> float | None:
        """How often a mean as far from 0 comes about by chance where the true one is 0: the two-sided t-test."""
        if self.standard_error is None:
            return None
        if self.standard_error == 0.0:
            return float(self.mean == 0.0)
        return _beyond(abs(self.mean) / self.standard_error, self.count - 1)


def _beyond(t: float, freedom: int) -> float:
    """The probability that Student's t is farther from 0 than `t`, which is not negative.

    The finite sums of Abramowitz and Stegun, 26.7.3 and 26.7.4.
    """
    cosine2 = freedom / (freedom + t * t)
    odd = freedom % 2
    term = total = math.sqrt(cosine2) * float(freedom > 1) if odd else 1.0
    for power in range(2 + odd, freedom - 1, 2):
        term *= cosine2 * (power - 1) / power
        total += term
    within = math.sqrt(1 - cosine2) * total
    if odd:
        within = 2 / math.pi * (math.atan(t / math.sqrt(freedom)) + within)
    return max(0.0, 1 - within)


def _critical_t(probability: float, freedom: int) -> float:
    """The value that Student's t exceeds, on one side or the other, with this probability."""
    low, high = 0.0, 1 / probability**2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _beyond(middle, freedom) > probability else (low, middle)
    return high
