"""Means, paired differences, p-values, verdicts and the table."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest

from mlx_tiny.study.arms import Arm
from mlx_tiny.study.comparison import compare, draw, table
from mlx_tiny.study.runs import COUNTING, PLAIN, Run

from .fake_runs import BASE, OTHER, fake_run

BASE_BITS, OTHER_BITS = (0.80, 0.83, 0.84), (0.70, 0.72, 0.71)


def runs(base: tuple[float, ...] = BASE_BITS, other: tuple[float, ...] = OTHER_BITS) -> list[Run]:
    """In an order that pairs nothing by its place."""
    made = [fake_run(arm, seed, b) for arm, bits in ((OTHER, other), (BASE, base)) for seed, b in enumerate(bits)]
    return made[::-1]


def test_differences_are_those_of_equal_seeds() -> None:
    base, other = compare([BASE, OTHER], [*runs(), fake_run(OTHER, 3, 9.0)])
    assert base.difference is base.p_value is None and base.verdict == ""
    assert other.seeds == 4 and other.difference is not None and other.difference.count == 3
    assert other.difference.mean == pytest.approx(-0.34 / 3)
    assert other.relative == pytest.approx(-0.34 / 2.47)
    # t = mean / (s / sqrt 3) = -12.85 with two degrees of freedom: p = 1 - t / sqrt(2 + t^2).
    t = (0.34 / 3) / (math.sqrt((0.0133333**2 + 0.0033333**2 + 0.0166667**2) / 2) / math.sqrt(3))
    assert other.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-4)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ((), "no seed in common"),
        ((-0.1,), "lower than base in the only pair"),
        ((-0.10, -0.11, -0.12), r"other is stronger than base: 0.1100 .*\(13.7%\) lower, .*fewer than 5"),
        ((0.10, 0.11, 0.12, 0.11, 0.11), r"other is weaker than base: 0.1100 .* p = 4e-06, 5 pairs\.$"),
        ((-0.10, 0.11, -0.12), "other and base are not distinguishable"),
        ((0.0,), "equal in every run"),
        ((0.0, 0.0), "equal in every run"),
        ((-0.125, -0.125), "lower than base in each of 2 pairs"),
    ],
)
def test_verdict(differences: tuple[float, ...], expected: str) -> None:
    made = runs(base=(0.8,) * len(differences), other=tuple(0.8 + change for change in differences))
    found = compare([BASE, OTHER], [*made, fake_run(BASE, 8, 0.8), fake_run(OTHER, 9, 0.8)])
    assert re.search(expected, found[-1].verdict)


def test_runs_that_were_measured_on_different_texts_are_no_pairs() -> None:
    texts = {BASE.name: ("a", "b", "b", None), OTHER.name: ("a", "a", "b", "b")}
    made = runs(base=(0.8, 0.1, 0.8, 0.8), other=(0.7, 0.7, 0.6, 0.5))
    marked = [dataclasses.replace(run, text=texts[run.arm][run.seed]) for run in made]
    found = compare([BASE, OTHER], marked)[-1]
    assert found.difference is not None and found.difference.count == 3
    assert found.difference.mean == pytest.approx(-0.2)
    none = compare([BASE, OTHER], [run for run in marked if run.seed == 1])[-1]
    assert none.difference is None and "no seed in common with base on the same text" in none.verdict


def test_with_counting_is_a_row_of_its_own() -> None:
    both = [fake_run(OTHER, seed, 0.9, figures={COUNTING: bits}) for seed, bits in enumerate((0.7, 0.71))]
    plain = [fake_run(BASE, seed, 1.0) for seed in range(2)]
    rows = compare([BASE, OTHER], [*both, *plain])
    assert [(row.arm, row.measure) for row in rows] == [("base", PLAIN), ("other", PLAIN), ("other", COUNTING)]
    assert rows[2].difference is not None and rows[2].difference.mean == pytest.approx(-0.295)
    mixed = [fake_run(BASE, seed, 1.0, figures={COUNTING: 0.8}) for seed in range(2)]
    last = compare([BASE, OTHER], [*both, *mixed])[-1]
    assert last.difference is not None and last.difference.mean == pytest.approx(-0.095)
    assert "than base with counting" in last.verdict or "and base with counting" in last.verdict


def test_the_table_fits_a_terminal_and_shows_failures_and_disturbances() -> None:
    broken = [fake_run(OTHER, 3, 0, failure="it crashed"), fake_run(BASE, 3, 0.8, other_cores=1.0)]
    lines = list(table(compare([BASE, OTHER], [*runs(), *broken])))
    cells = [re.split(r"  +", line.strip()) for line in lines]
    assert cells[1][:3] == ["base", "0.8175 ±0.0206", "4!"]
    assert cells[2][:5] == ["other", "0.7100 ±0.0100", "-0.1133 ±0.0379", "0.006", "3, 1 failed"]
    assert max(map(len, lines)) <= 80 and any("other is stronger than base" in line for line in lines)


def test_rounds_of_a_search_are_compared_apart() -> None:
    early = [fake_run(arm, seed, 2.0, share=0.5) for arm in (BASE, OTHER, Arm("third", "1Mtok")) for seed in range(2)]
    found = compare([BASE, OTHER, Arm("third", "1Mtok")], [*runs(), *early])
    assert [(row.arm, row.share) for row in found] == [
        *(("base", 0.5), ("other", 0.5), ("third", 0.5)),
        *(("base", 1), ("other", 1)),
    ]
    assert found[1].means[PLAIN].mean == 2.0 and "0.5 of budget" in "\n".join(table(found))


def test_the_work_of_the_first_arm_for_the_same_strength() -> None:
    made = [
        fake_run(arm, seed, (times * share) ** -0.1 + 0.001 * seed, share=share, figures={"flops": 1e12 * share})
        for arm, times in ((BASE, 1), (OTHER, 3))
        for seed in range(2)
        for share in (0.1, 1)
    ]
    early, late = (row for row in compare([BASE, OTHER], made) if row.arm == "other")
    assert (
        "other at 1.1284 bits per byte: base needs 3.00 times its work for as much, 95 % interval"
        in early.work_of_first
    )
    assert late.work_of_first == "", "the first arm never was as strong"


@pytest.mark.parametrize("shares", [(1,), (0.1, 1)])
def test_a_study_is_drawn(tmp_path: Path, shares: tuple[float, ...]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra `plot`)")
    made = [dataclasses.replace(run, share=share) for share in shares for run in runs()]
    made = [dataclasses.replace(run, figures={**run.figures, "flops": 1e12 * run.share}) for run in made]
    draw([BASE, OTHER], made, tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
