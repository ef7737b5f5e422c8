"""`mlx-tiny runs` and `mlx-tiny compare`: what they print, in 80 columns and as JSON, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from report.planted_runs import planted_run, unreported_run

from .command_line import Finished, call, strict, succeeded

HARD = np.random.default_rng(0).normal(100, 30, 200)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three runs on one text, one on another, one that has not begun, and a damaged one."""
    folder = tmp_path / "runs"
    planted_run(folder / "weak", 0.9, documents=HARD)
    planted_run(
        folder / "strong", 0.7, matrix_rate=0.05, documents=HARD - 10, report={"with_counting_bits_per_byte": 0.6}
    )
    planted_run(folder / "cut", 0.8, report={"interrupted": True, "evaluated_whole_file": False})
    planted_run(folder / "elsewhere", 0.1, report={"evaluation_fingerprint": "fedcba987654"})
    unreported_run(folder / "new")
    (planted_run(folder / "broken").path / "report.json").write_text("{")
    return folder


def names(finished: Finished) -> list[str]:
    """The runs in the order of the tables."""
    known = ("weak", "strong", "cut", "elsewhere", "new", "broken")
    return [words[0] for line in finished.out.splitlines() if (words := line.split()) and words[0] in known]


def test_runs_are_listed_by_their_texts(runs: Path) -> None:
    listed = succeeded(call("runs"))
    assert names(listed) == ["elsewhere", "strong", "cut", "weak", "broken", "new"]
    assert max(map(len, listed.out.splitlines())) <= 80
    lines = {line.split()[0]: line for line in listed.out.splitlines() if line.strip()}
    assert "0.7000" in lines["strong"] and "0.6000" in lines["strong"] and "123k" in lines["strong"]
    assert "0.8000*" in lines["cut"] and "interrupted" in lines["cut"]
    assert "damaged" in lines["broken"] and "not begun" in lines["new"]
    assert names(succeeded(call("runs", runs / "weak", "--sort", "name"))) == ["weak"]
    found = strict(succeeded(call("runs", runs, "--json")).out)["runs"]
    assert {run["name"]: run["state"] for run in found}["broken"] == "damaged" and len(found) == 6


def test_nothing_to_list_is_said(tmp_path: Path) -> None:
    assert "no runs" in succeeded(call("runs")).err
    assert strict(succeeded(call("runs", "--json")).out)["runs"] == []
    assert call("runs", "missing").code == 1


def test_two_runs_are_compared(runs: Path) -> None:
    compared = succeeded(call("compare", "runs/weak", "runs/strong"))
    assert max(map(len, compared.out.splitlines())) <= 80
    text = " ".join(compared.out.split())
    assert "matrix-rate: 0.02 (weak), 0.05 (strong)" in text and "-0.2000" in text
    assert "strong would be stronger than weak too" in text and "more seeds" in text
    found = strict(succeeded(call("compare", "runs/weak", "runs/strong", "--json")).out)
    assert [side["name"] for side in found["sides"]] == ["weak", "strong"]
    assert found["noise_of_text"][0]["interval"][1] < 0 and found["noise_of_seeds"]


def test_what_cannot_be_compared_is_refused(runs: Path) -> None:
    for other, word in (("elsewhere", "different"), ("cut", "interrupted"), ("new", "no report"), ("broken", "not")):
        refused = call("compare", "runs/weak", runs / other)
        assert refused.code == 1 and word in refused.err and not refused.out
    assert call("compare", "runs/weak").code == call("compare").code == 2
