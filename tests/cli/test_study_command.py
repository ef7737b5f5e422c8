"""`mlx-tiny study`: from words to a table, with runs in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from mlx_tiny.study.results import alone

from .command_line import FEW_PAUSES, TINY, Finished, call, run_here, strict, succeeded


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The commands of all runs, which are done here."""
    done: list[Sequence[str]] = []

    def run(command: Sequence[str], log: Path, what: str, count: int) -> None:
        done.append(command)
        run_here(command, log, what, count)

    monkeypatch.setattr("mlx_tiny.study.runs.run", run)
    return done


def study(*words: str) -> Finished:
    return call("study", *words, "--data", "notes.txt", *TINY, *FEW_PAUSES, "--budget", "256tok")


def test_a_setting_is_varied_and_the_study_goes_on(runs: list[Sequence[str]], place: Path) -> None:
    words = ("--vary", "matrix-rate=0.01,0.02,-1", "--seeds")
    first = succeeded(study(*words, "1"))
    assert [command[command.index("--seed") + 1] for command in runs] == ["0"] * 3
    assert "FAILED" in first.err and "1, 1 failed" not in first.out and "0, 1 failed" in first.out
    assert "matrix-rate=0.02 is" in " ".join(first.out.split())
    second = strict(succeeded(study(*words, "2", "--json")).out)
    assert len(runs) == 6, "the runs of the first seed are kept"
    (path,) = place.glob("studies/*-256tok.json")
    assert json.loads(path.read_text()) == second
    base, other, failed = (row for row in second["comparisons"] if row["measure"] == "bits_per_byte")
    assert (base["seeds"], other["difference"]["count"], failed["failed"]) == (2, 2, 2)
    found = {(run["arm"], run["seed"]): run["figures"] for run in second["runs"]}
    assert found["matrix-rate=0.01", 0]["tokens"] == 256
    values = [[found[f"matrix-rate={rate}", seed]["bits_per_byte"] for rate in ("0.02", "0.01")] for seed in (0, 1)]
    assert other["difference"]["mean"] == pytest.approx(sum(a - b for a, b in values) / 2)
    again = succeeded(study(*words, "2", "--repeat", "failed"))
    assert len(runs) == 8 and "repeated: 2 failed runs" in again.err


def test_a_file_is_a_study(runs: list[Sequence[str]], place: Path) -> None:
    (place / "notes.yaml").write_text("seeds: 2,\narms: {base: , wide: --width 48}\n")
    succeeded(call("study", "notes.yaml", "--data", "notes.txt", *TINY, *FEW_PAUSES, "--budget", "128tok", "--halve"))
    assert [command[-1] for command in runs] == ["--no-compile", "48"]
    succeeded(
        call("study", "notes.yaml", "--data", "notes.txt", *TINY, *FEW_PAUSES, "--budget", "128tok", "--shares", "0.5")
    )
    assert [command[command.index("--budget") + 1] for command in runs[2:]] == ["64tok"] * 2
    assert (place / "studies" / "notes-128tok.json").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("--vary", "matrx-rate=1,2"), 2, "No such option '--matrx-rate"),
        (("--vary", "batch-size=x,y"), 2, "not a valid integer"),
        (("--vary", "layers=1,2", "--budget", "256 tokens"), 1, "Unknown unit"),
        (("study.yaml",), 1, "No study file"),
        (("--vary", "layers=1,2", "--preset", "tiny", "study.yaml"), 2, "unexpected words: study.yaml"),
        (("--vary", "layers=1,2", "--seeds", "x"), 1, "Cannot read the seeds"),
        (("--vary", "layers=1,2", "--seed", "1"), 1, "The study itself gives --seed"),
        (("--seeds", "3"), 2, "Name what to compare"),
        (("--vary", "layers=1,2", "--help-all"), 2, "cannot have --help-all"),
        (("--vary", "layers=1", "--vary", "layers=2"), 2, "names a setting twice"),
        (("--vary", "layers=1,2", "--output", "."), 1, "is a folder"),
        (("--vary", "layers=1,2", "--halve", "--shares", "0.5"), 2, "chooses the shares"),
    ],
)
def test_a_wrong_study_is_refused_before_it_begins(
    runs: list[Sequence[str]], words: tuple[str, ...], code: int, message: str
) -> None:
    finished = call("study", *words)
    assert finished.code == code and message in " ".join(finished.err.split()) and not runs


def test_a_study_without_a_result_is_an_error(runs: list[Sequence[str]]) -> None:
    finished = study("--vary", "matrix-rate=-1", "--seeds", "1")
    assert finished.code == 1 and "Every run of the study failed" in finished.err


def test_a_text_that_changes_makes_no_pairs_and_budgets_of_arms_are_told(
    runs: list[Sequence[str]], place: Path
) -> None:
    words = ("--vary", "matrix-rate=0.01,0.02", "--seeds")
    succeeded(study(*words, "1"))
    (place / "notes.txt").write_text("".join(f"{n} apples and {n * n} pears\n" for n in range(900)))
    told = succeeded(study(*words, "2")).err
    assert len(runs) == 4 and "not all measured on the same text" in told
    (path,) = place.glob("studies/*-256tok.json")
    texts = {(run["arm"], run["seed"]): run["text"] for run in json.loads(path.read_text())["runs"]}
    assert len(set(texts.values())) == 2 and texts["matrix-rate=0.01", 1] == texts["matrix-rate=0.02", 1] is not None
    (place / "two.yaml").write_text("seeds: 1\narms: {a: , b: {budget: 128tok}}\n")
    told = succeeded(call("study", "two.yaml", "--data", "notes.txt", *TINY, *FEW_PAUSES, "--budget", "256tok")).err
    assert "different budgets: 256tok (a), 128tok (b)" in told


def test_two_studies_do_not_write_one_file(runs: list[Sequence[str]], place: Path) -> None:
    with alone(place / "study.json"):
        second = study("--vary", "layers=1,2", "--output", "study.json")
    assert second.code == 1 and "Another study is writing study.json" in second.err and not runs
