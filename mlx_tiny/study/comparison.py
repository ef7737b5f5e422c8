"""Compares the arms of a study: means, paired differences to the first arm with their p-values, a table and a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlx_tiny.study.arms import Arm
from mlx_tiny.study.runs import COUNTING, FIGURES, PLAIN, Run
from mlx_tiny.tools.plots import picture
from mlx_tiny.tools.statistics import Mean
from mlx_tiny.tools.tables import ABSENT, WIDTH, Column, Table, wrapped
from mlx_tiny.units import format_bytes, format_count, format_flops, format_seconds

SIGNIFICANT = 0.01
"""Differences are told from chance below this p-value."""
_ENOUGH_PAIRS = 5
_DISTURBED = "!"
_USUAL_LABEL = 22
"""Characters of a name beside which the first columns fit; with longer ones, the table is wider."""
_COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("tokens", "tokens", format_count),
    ("seconds", "seconds", format_seconds),
    ("tokens/s", "tokens_per_s", format_count),
    ("work", "flops", format_flops),
    ("parameters", "parameters", format_count),
    ("memory", "peak_memory_bytes", format_bytes),
)
"""Title of the column, name of the figure, format."""


@dataclass(frozen=True)
class Comparison:
    """An arm at one share of its budget, by one measure of strength."""

    arm: str
    share: float
    measure: str
    """`PLAIN` or `COUNTING`."""
    seeds: int
    """Runs that did not fail."""
    failed: int
    disturbed: int
    means: dict[str, Mean]
    """Of the figures over all runs that did not fail."""
    difference: Mean | None
    """In bits per byte to the first arm, over the seeds that both have on the same text; to the plain strength of one
    that is not mixed with counting. None for the first arm."""
    relative: float | None
    """The difference divided by the mean of the first arm over the same seeds."""
    p_value: float | None
    verdict: str
    work_of_first: str = ""
    """How many times its work the first arm needs to be as strong, where that one has several shares of its budget."""


def compare(arms: Sequence[Arm], runs: Sequence[Run]) -> list[Comparison]:
    """The arms that have runs, from the smallest share of the budget to the largest."""
    found, base = list[Comparison](), arms[0].name
    for share in sorted({run.share for run in runs}):
        by_arm = {arm.name: [run for run in runs if (run.arm, run.share) == (arm.name, share)] for arm in arms}
        for name, own in by_arm.items():
            for measure in (PLAIN, COUNTING):
                if any(measure in run.figures for run in own) or (own and measure == PLAIN):
                    curve = [] if name == base else [run for run in runs if run.arm == base]
                    found.append(_comparison(measure, own, None if name == base else by_arm[base], curve))
    return found


def _comparison(measure: str, own: Sequence[Run], of_base: Sequence[Run] | None, curve: Sequence[Run]) -> Comparison:
    sound = [run for run in own if measure in run.figures]
    other = measure if any(measure in run.figures for run in of_base or ()) else PLAIN
    theirs = {run.seed: run for run in of_base or () if other in run.figures}
    both = [(run, theirs[run.seed]) for run in sound if run.seed in theirs]
    pairs = [
        (run.figures[measure], first.figures[other])
        for run, first in both
        if run.text == first.text or None in (run.text, first.text)
    ]
    difference, relative, words = None, None, ""
    if of_base is not None:
        first_arm = _label(of_base[0].arm, other) if of_base else "the first"
        words = (
            f"{_label(own[0].arm, measure)} has no seed in common with {first_arm}{' on the same text' * bool(both)}."
        )
    if of_base and pairs:
        first, second = zip(*pairs, strict=True)
        difference = Mean.of_differences(first, second)
        relative = difference.mean / Mean.of(second).mean
        words = _verdict(_label(own[0].arm, measure), _label(of_base[0].arm, other), difference, relative)
    return Comparison(
        arm=own[0].arm,
        share=own[0].share,
        measure=measure,
        seeds=len(sound),
        failed=sum(run.failure is not None for run in own),
        disturbed=sum(run.disturbed for run in own),
        means={figure: Mean.of(values) for figure in FIGURES if (values := _values(sound, figure))},
        difference=difference,
        relative=relative,
        p_value=None if difference is None or difference.std == 0 != difference.mean else difference.p_value,
        verdict=words,
        work_of_first=_work_of_first(sound, measure, [run for run in curve if other in run.figures], other),
    )


def _work_of_first(sound: Sequence[Run], measure: str, curve: Sequence[Run], other: str) -> str:
    """The work that the first arm needs to be as strong as these runs, relative to theirs, in words.

    Empty where it never was as strong, or always. The work is interpolated between its runs of the same seed, on
    logarithmic scales.
    """
    ratios = list[float]()
    for run in sound:
        points = sorted(
            (each.figures[other], each.figures["flops"])
            for each in curve
            if each.seed == run.seed and "flops" in each.figures
        )
        bits, work = run.figures[measure], run.figures.get("flops")
        if not (work and len(points) > 1 and points[0][0] <= bits <= points[-1][0]):
            return ""
        log_bits, log_work = np.log(points).T
        ratios.append(float(np.interp(math.log(bits), log_bits, log_work)) - math.log(work))
    if not ratios:
        return ""
    found, margin = Mean.of(ratios), Mean.of(ratios).margin_95
    low, high = (math.exp(found.mean + sign * (margin or 0.0)) for sign in (-1, 1))
    interval = "" if margin is None else f"95 % interval {low:.2f} to {high:.2f}, "
    strength = f"{_label(sound[0].arm, measure)} at {Mean.of(_values(sound, measure)).mean:.4f} bits per byte"
    times = f"{_label(curve[0].arm, other)} needs {math.exp(found.mean):.2f} times its work for as much"
    return f"{strength}: {times}, {interval}pairs: {found.count}."


def _label(arm: str, measure: str) -> str:
    return arm if measure == PLAIN else f"{arm} with counting"


def _values(runs: Sequence[Run], figure: str) -> list[float]:
    return [run.figures[figure] for run in runs if figure in run.figures]


def _verdict(name: str, base: str, difference: Mean, relative: float) -> str:
    """What the difference of an arm to the first one shows, in words."""
    if difference.mean == 0 == (difference.std or 0):
        return f"{name} and {base} are equal in every run (pairs: {difference.count}): they may differ in nothing."
    size = f"{abs(difference.mean):.4f} bits per byte ({abs(relative):.1%}) {'lower' if relative < 0 else 'higher'}"
    if difference.p_value is None or difference.margin_95 is None:
        return f"{name} is {size} than {base} in the only pair; the spread is unknown."
    if difference.std == 0:
        return (
            f"{name} is {size} than {base} in each of {difference.count} pairs: no seed changes it, so none tests it."
        )
    low, high = difference.mean - difference.margin_95, difference.mean + difference.margin_95
    evidence = f"95 % interval {low:+.4f} to {high:+.4f}, p = {_p_text(difference.p_value)}, {difference.count} pairs"
    if difference.p_value >= SIGNIFICANT:
        return f"{name} and {base} are not distinguishable: {size} on average, {evidence}."
    few = "" if difference.count >= _ENOUGH_PAIRS else f", fewer than {_ENOUGH_PAIRS}"
    return f"{name} is {'stronger' if relative < 0 else 'weaker'} than {base}: {size}, {evidence}{few}."


def _p_text(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def table(found: Sequence[Comparison], title: str = "arm") -> Iterator[str]:
    """Strength at each share of the budget, costs and verdicts at the largest share, and the legend.

    Args:
        title: what is compared.
    """
    strength: list[Column[Comparison]] = [
        Column("bits per byte", lambda row: _plus_minus(row.means.get(row.measure), "{:.4f}"), "± standard deviation"),
        Column("difference", _difference, f"to the first {title}, by pairs of equal seeds, ± half the 95 % interval"),
        Column("p", lambda row: "" if row.p_value is None else _p_text(row.p_value), "two-sided paired t-test"),
        Column("runs", _runs),
        Column("counting", _mean("counting_bits_per_byte", "{:.4f}".format), "bits per byte of counting alone"),
        Column("floor", _mean("entropy_floor_bits_per_byte", "{:.4f}".format), "entropy of the text"),
    ]
    cost = [Column(title, _mean(figure, form)) for title, figure, form in _COSTS]
    marks = [(_DISTURBED, "other programs slowed a run down")]
    width = WIDTH + max(0, max((len(row.arm) for row in found), default=0) - _USUAL_LABEL)
    strengths, costs = (Table(_row_name, columns, marks=marks, width=width) for columns in (strength, cost))
    shares = sorted({row.share for row in found})
    for share in shares:
        heading = title if share == 1 else f"{share:.3g} of budget"
        yield from (*strengths.lines([row for row in found if row.share == share], title=heading), "")
    last = [row for row in found if row.share == shares[-1]]
    yield from (*costs.lines([row for row in last if row.measure == PLAIN], title="cost of a run"), "")
    yield from (*strengths.legend(), *costs.legend())
    for verdict in filter(None, (*(row.verdict for row in last), *(row.work_of_first for row in found))):
        yield from wrapped(verdict)


def _row_name(row: Comparison) -> str:
    return row.arm if row.measure == PLAIN else "  with counting"


def _difference(row: Comparison) -> str:
    if row.difference is None:
        return ""
    margin = row.difference.margin_95
    return f"{row.difference.mean:+.4f}" + ("" if margin is None else f" ±{margin:.4f}")


def _plus_minus(mean: Mean | None, form: str) -> str:
    if mean is None:
        return ABSENT
    return form.format(mean.mean) + ("" if mean.std is None else f" ±{form.format(mean.std)}")


def _runs(row: Comparison) -> str:
    text = str(row.seeds) + (f", {row.failed} failed" if row.failed else "")
    return text + _DISTURBED * bool(row.disturbed)


def _mean(figure: str, form: Callable[[float], str]) -> Callable[[Comparison], str]:
    def cell(row: Comparison) -> str:
        return form(row.means[figure].mean) if row.measure == PLAIN and figure in row.means else ""

    return cell


def draw(arms: Sequence[Arm], runs: Sequence[Run], path: Path) -> None:
    """Draw bits per byte to a PNG file: of every run, or, of several shares of the budget, against the model FLOPs."""
    found = [row for row in compare(arms, runs) if row.means]
    several = len({row.share for row in found}) > 1
    with picture(path, figsize=(6, 4) if several else (6, 0.9 + 0.4 * len(found))) as (_, axes):
        if several:
            _draw_curves(found, axes)
        else:
            _draw_runs(found, runs, axes)
        axes.grid(alpha=0.3, which="both" if several else "major", axis="both" if several else "x")


def _draw_runs(found: Sequence[Comparison], runs: Sequence[Run], axes: Any) -> None:
    for place, row in enumerate(found):
        bits, mean = _values([run for run in runs if run.arm == row.arm], row.measure), row.means[row.measure]
        axes.plot(bits, [place] * len(bits), "o", markersize=5, alpha=0.6)
        text = _plus_minus(mean, "{:.3f}")
        axes.annotate(text, (mean.mean, place), (0, 8), textcoords="offset points", ha="center")
    axes.set_yticks(range(len(found)), [_label(row.arm, row.measure) for row in found])
    axes.set(ylim=(len(found) - 0.5, -0.8), xlabel="bits per byte, lower is better")
    axes.margins(x=0.15)


def _draw_curves(found: Sequence[Comparison], axes: Any) -> None:
    """The means of each arm over the shares of its budget, with their 95 % intervals, on two logarithmic scales."""
    for arm, measure in dict.fromkeys((row.arm, row.measure) for row in found):
        rows = [row for row in found if (row.arm, row.measure) == (arm, measure) and "flops" in row.means]
        bits = [row.means[measure] for row in rows]
        margins = [mean.margin_95 or 0.0 for mean in bits]
        work = [row.means["flops"].mean for row in rows]
        axes.errorbar(work, [mean.mean for mean in bits], margins, marker="o", capsize=3, label=_label(arm, measure))
    axes.set(xscale="log", yscale="log", xlabel="model FLOPs", ylabel="bits per byte, lower is better")
    axes.yaxis.set_major_formatter("{x:.2g}")
    axes.yaxis.set_minor_formatter("{x:.2g}")
    axes.legend()
