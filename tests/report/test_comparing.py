"""Which runs are compared with which, in what they differ, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from bench.micro import MACHINE

from mlx_tiny.errors import TinyError
from mlx_tiny.records import Origin
from mlx_tiny.report.comparing import ComparedRuns, compare, short_names

from .planted_runs import planted_run

FAST: Any = {"matrix_rate": 0.05}
SLOW: Any = {"matrix_rate": 0.01}


def shown(found: ComparedRuns) -> list[tuple[str, list[int]]]:
    return [(side.name, side.seeds) for side in found.sides]


def test_one_run_of_each_has_no_spread(tmp_path: Path) -> None:
    planted_run(tmp_path / "a", 0.80, **SLOW)
    planted_run(tmp_path / "b", 0.75, **FAST)
    found = compare([tmp_path / "a", tmp_path / "b"])
    assert shown(found) == [("a", [0]), ("b", [0])]
    (difference,) = found.differences
    assert (difference.section, difference.name, difference.values) == ("optimizer", "matrix_rate", (0.01, 0.05))
    base, other = found.comparisons
    assert base.difference is None and other.difference is not None
    assert other.difference.mean == pytest.approx(-0.05) and other.p_value is None


def test_more_seeds_are_found_beside_and_paired(tmp_path: Path) -> None:
    for seed, (slow, fast) in enumerate(((0.80, 0.75), (0.81, 0.77), (0.82, 0.76))):
        planted_run(tmp_path / f"a{seed}", slow, **SLOW, seed=seed)
        planted_run(tmp_path / f"b{seed}", fast, **FAST, seed=seed)
    planted_run(tmp_path / "b0-again", 9.0, **FAST, seed=0)
    planted_run(tmp_path / "b9-elsewhere", 9.0, **FAST, seed=9, report={"evaluation_fingerprint": "other"})
    planted_run(tmp_path / "b8-interrupted", 9.0, **FAST, seed=8, report={"interrupted": True})
    planted_run(tmp_path / "b7-gone-on", 9.0, **FAST, seed=7, report={"continued": True})
    (planted_run(tmp_path / "b6-damaged", 9.0, **FAST, seed=6).path / "report.json").write_text("{")
    (tmp_path / "loop").symlink_to("loop")
    found = compare([tmp_path / "a0", tmp_path / "b1"])
    assert [(name, sorted(seeds)) for name, seeds in shown(found)] == [("a0", [0, 1, 2]), ("b1", [0, 1, 2])]
    assert sorted(Path(path).name for path in found.beside) == ["a1", "a2", "b0", "b2"]
    difference = found.comparisons[1].difference
    assert difference is not None and difference.count == 3
    assert difference.mean == pytest.approx((-0.05 - 0.04 - 0.06) / 3)
    assert shown(compare([tmp_path / "a0", tmp_path / "b1"], beside=False)) == [("a0", [0]), ("b1", [1])]


def test_runs_that_were_named_are_grouped_by_their_settings(tmp_path: Path) -> None:
    for name, seed, settings in (("a", 0, SLOW), ("b", 0, FAST), ("c", 1, SLOW), ("d", 1, FAST), ("e", 1, FAST)):
        planted_run(tmp_path / name, **settings, seed=seed)
    found = compare([tmp_path / name for name in "abcde"], beside=False)
    assert shown(found) == [("a", [0, 1]), ("b", [0, 1])]
    assert any("e is left out" in line and line.endswith("d") for line in found.doubts)


def test_runs_of_the_same_settings_are_compared_one_by_one(tmp_path: Path) -> None:
    for seed in range(3):
        planted_run(tmp_path / f"a{seed}", seed=seed)
    found = compare([tmp_path / "a0", tmp_path / "a1"])
    assert shown(found) == [("a0", [0]), ("a1", [1])]
    assert [(each.name, each.values) for each in found.differences] == [("seed", (0, 1))]


def test_another_commit_is_told_as_a_difference(tmp_path: Path) -> None:
    planted_run(tmp_path / "a")
    planted_run(tmp_path / "b", report={"machine": dataclasses.replace(MACHINE, commit="1234567")})
    (difference,) = compare([tmp_path / "a", tmp_path / "b"]).differences
    assert (difference.name, difference.values) == ("commit", (None, "1234567"))


def test_runs_of_both_backends_are_compared(tmp_path: Path) -> None:
    machine = dataclasses.replace(MACHINE, versions={"torch": "2.9"})
    planted_run(tmp_path / "a", report={"machine": machine})
    planted_run(tmp_path / "b", backend="torch", report={"machine": machine})
    found = compare([tmp_path / "a", tmp_path / "b"]).differences
    assert {each.name: each.values for each in found} == {"backend": ("mlx", "torch"), "torch": (None, "2.9")}


@pytest.mark.parametrize(
    ("told", "name", "values"),
    [
        ({"training_text": "1234567"}, "training text", ("abcdef0", "1234567")),
        ({"earlier": ["budget 5ktok until step 40"]}, "earlier settings", (None, "budget 5ktok until step 40")),
    ],
)
def test_what_no_setting_says_is_told_as_a_difference(
    told: dict[str, Any], name: str, values: tuple[Any, ...], tmp_path: Path
) -> None:
    planted_run(tmp_path / "a", report={"training_text": "abcdef0"})
    planted_run(tmp_path / "b", seed=1, report={"training_text": "abcdef0", **told})
    (difference,) = compare([tmp_path / "a", tmp_path / "b"]).differences
    assert (difference.name, difference.values) == (name, values)


def test_other_texts_and_runs_without_a_result_are_refused(tmp_path: Path) -> None:
    planted_run(tmp_path / "a")
    planted_run(tmp_path / "b", report={"evaluation_fingerprint": "fedcba"})
    planted_run(tmp_path / "c", report={"interrupted": True})
    for name, reason in (("b", "0123456789ab.*fedcba"), ("c", "interrupted"), ("d", "no run")):
        with pytest.raises(TinyError, match=reason):
            compare([tmp_path / "a", tmp_path / name])
    with pytest.raises(TinyError, match="only one run"):
        compare([tmp_path / "a", tmp_path / "b" / ".." / "a"])


def test_a_run_to_which_all_was_certain_is_refused(tmp_path: Path) -> None:
    planted_run(tmp_path / "a")
    planted_run(tmp_path / "b", 0.0)
    with pytest.raises(TinyError, match="b, so that no other is stronger"):
        compare([tmp_path / "a", tmp_path / "b"])


def test_doubts_are_told(tmp_path: Path) -> None:
    planted_run(tmp_path / "a", report={"continued": True})
    planted_run(tmp_path / "b", **FAST, report={"evaluated_training_text": True})
    learned = Origin("runs/old", 7, "0", "def", "own text", "", [], {}, validation_documents=50, learned_documents=20)
    planted_run(tmp_path / "c", report={"origin": learned})
    doubts = compare([tmp_path / name for name in "abc"]).doubts
    assert any("a has gone on" in line for line in doubts) and any("held out in" in line for line in doubts)
    assert any("c: 20 of the 50 validation documents were trained on by runs/old" in line for line in doubts)


def test_names_tell_runs_apart() -> None:
    assert short_names([Path("runs/a"), Path("other/b")]) == ["a", "b"]
    assert short_names([Path("runs/a"), Path("other/a")]) == ["runs/a", "other/a"]
