"""A difference is told from the noise of the text by pairs of documents."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mlx_tiny.report.comparing import compare
from mlx_tiny.report.paired import undecided
from mlx_tiny.study.runs import COUNTING, PLAIN

from .planted_runs import planted_run

HARD = np.random.default_rng(0).normal(100, 30, 200)
"""Documents differ far more than runs do."""
BITS = 1 / math.log(2) / 100
"""Of a nat, per byte of a document."""


@pytest.mark.parametrize(
    ("better", "verdict"), [(2.0, "would be stronger"), (0.0, "other way round"), (-2.0, "would be weaker")]
)
def test_what_both_find_hard_is_no_noise(tmp_path: Path, better: float, verdict: str) -> None:
    planted_run(tmp_path / "a", documents=HARD)
    planted_run(tmp_path / "b", matrix_rate=0.05, documents=HARD - better + np.random.default_rng(1).normal(0, 1, 200))
    plain, counting = compare([tmp_path / "a", tmp_path / "b"]).noise_of_text
    assert (plain.name, plain.measure, counting.measure) == ("b", PLAIN, COUNTING)
    assert plain.difference == pytest.approx(-better * BITS, abs=0.2 * BITS) and plain.interval is not None
    low, high = plain.interval
    assert low < plain.difference < high and high - low == pytest.approx(2 * 1.96 * BITS / math.sqrt(200), rel=0.2)
    assert verdict in plain.verdict and verdict in counting.verdict
    assert counting.difference == pytest.approx(plain.difference / 2)


def test_a_difference_of_no_digit_that_is_shown_is_no_verdict() -> None:
    assert undecided((1e-5, 3e-5)) and not undecided((1e-4, 3e-4)) and not undecided((-3e-4, -2e-4))


def test_seeds_are_paired_and_one_pair_does_not_tell_their_noise(tmp_path: Path) -> None:
    for seed in range(2):
        planted_run(tmp_path / f"a{seed}", seed=seed, documents=HARD + 10 * seed)
        planted_run(tmp_path / f"b{seed}", seed=seed, matrix_rate=0.05, documents=HARD + 10 * seed - 3)
    planted_run(tmp_path / "a2", seed=2, documents=HARD + 50)
    both = compare([tmp_path / "a0", tmp_path / "b0"])
    assert both.noise_of_text[0].difference == pytest.approx(-3 * BITS) and both.noise_of_seeds == ""
    one = compare([tmp_path / "a0", tmp_path / "b0"], beside=False)
    assert "more seeds" in one.noise_of_seeds
    same = compare([tmp_path / "a0", tmp_path / "a1"])
    assert same.noise_of_text[0].difference == pytest.approx(10 * BITS) and "noise of the seed" in same.noise_of_seeds


def test_without_documents_the_noise_is_not_known(tmp_path: Path) -> None:
    planted_run(tmp_path / "a", documents=HARD)
    planted_run(tmp_path / "b", matrix_rate=0.05)
    planted_run(tmp_path / "c", matrix_rate=0.05, documents=HARD[:100])
    for name in "bc":
        (noise,) = compare([tmp_path / "a", tmp_path / name]).noise_of_text
        assert noise.interval is noise.difference is None and "not known" in noise.verdict
    planted_run(tmp_path / "d", documents=HARD[:3])
    planted_run(tmp_path / "e", matrix_rate=0.05, documents=HARD[:3])
    noise = compare([tmp_path / "d", tmp_path / "e"]).noise_of_text[0]
    assert noise.interval is None and noise.difference == 0 and "too little text" in noise.verdict
