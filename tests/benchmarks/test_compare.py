"""The paired study: statistics, table, verdict, order, records and continuation."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.micro import MACHINE
from click.testing import CliRunner

from benchmarks import compare_with_gpt2, pairs, runs
from benchmarks.compare_with_gpt2 import Results, parse_seeds, schedule
from benchmarks.pairs import BASELINE, OURS, Run, StudyFile, Summary
from benchmarks.scaling import Scaling
from mlx_tiny.bench.record import Benchmarks, Profile
from mlx_tiny.config import DataConfig, RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.records import read, to_json, write_sealed
from mlx_tiny.report.record import Report
from mlx_tiny.tools.processes import ROOT

OURS_BITS, BASELINE_BITS = (0.70, 0.72, 0.71), (0.80, 0.83, 0.84)


def fake_run(seed: int, side: str, bits: float, cores_used_by_others: float | None = 0.01) -> Run:
    return Run(
        seed=seed,
        side=side,
        started="2026-01-02",
        cores_used_by_others=cores_used_by_others,
        bits_per_byte=bits,
        perplexity_per_token=8.0,
        steps=100,
        tokens=1_500_000 + seed,
        tokens_per_s=5_432.1,
        seconds=300.0,
        parameters=1_400_000,
        peak_memory_bytes=600_000_000,
        settings={"rate": 1e-3},
        machine=MACHINE,
        samples=["Once"],
    )


def fake_runs() -> list[Run]:
    return [
        fake_run(seed, side, bits[seed])
        for side, bits in ((BASELINE, BASELINE_BITS), (OURS, OURS_BITS))
        for seed in range(3)
    ]


def study() -> runs.Study:
    return runs.Study("folder/train-*.txt", "folder/valid.txt", "5m", "--preset x", "--rate 1e-3", "python3")


def test_a_run_without_its_partner_is_in_no_statistic() -> None:
    summary = pairs.summarize([*fake_runs(), fake_run(3, OURS, 9.0)])
    assert summary.pairs == 3
    assert summary.sides[OURS]["bits_per_byte"].mean == pytest.approx(0.71)
    assert summary.sides[BASELINE]["bits_per_byte"].std == pytest.approx(math.sqrt(0.0008666667 / 2), rel=1e-5)
    # Differences -0.10, -0.11, -0.13, whatever the order of the runs.
    assert summary.difference_bits_per_byte and summary.difference_bits_per_byte.mean == pytest.approx(-0.34 / 3)
    assert pairs.summarize([fake_run(0, OURS, 0.7)]) == Summary(0, {}, None, "No pair is complete yet.")


def test_the_table_shows_every_run_and_the_means() -> None:
    lines = list(pairs.table(fake_runs()))
    cells = [re.split(r"  +", line.strip()) for line in lines]
    assert cells[1][:5] == ["0 mlx_tiny", "0.7000", "-0.1000", "1.50M", "5.43k"]
    assert cells[2][:3] == ["0 gpt2", "0.8000", "1.50M"]
    assert cells[7][:3] == ["mean mlx_tiny", "0.7100 ± 0.0100", "-0.1133 ± 0.0088"]
    assert cells[8][:2] == ["mean gpt2", "0.8233 ± 0.0208"] and max(map(len, lines)) <= 80


def test_the_table_of_a_lone_run_has_no_mean() -> None:
    assert not any("mean" in line for line in pairs.table([fake_run(0, OURS, 0.7)]))


def test_a_disturbed_run_is_marked() -> None:
    assert "gpt2 (disturbed)" in "\n".join(pairs.table([fake_run(0, BASELINE, 0.8, cores_used_by_others=0.5)]))
    assert not fake_run(0, BASELINE, 0.8, cores_used_by_others=None).disturbed


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ((), "No pair"),
        ((-0.1,), "mlx_tiny is 0.1000 bits per byte (12.5%) lower in the only pair"),
        ((-0.10, -0.11, -0.12), "mlx_tiny is stronger: 0.1100 bits per byte"),
        ((0.10, 0.11, 0.12), "mlx_tiny is weaker: 0.1100 bits per byte"),
        ((-0.10, 0.11, -0.12), "No difference is shown"),
    ],
)
def test_verdict(differences: tuple[float, ...], expected: str) -> None:
    made = [fake_run(seed, BASELINE, 0.8) for seed in range(len(differences))]
    made += [fake_run(seed, OURS, 0.8 + change) for seed, change in enumerate(differences)]
    assert pairs.verdict(made).startswith(expected)


def test_the_competitors_take_turns_in_going_first() -> None:
    order = list(schedule([5, 6, 7]))
    assert order == [(5, OURS), (5, BASELINE), (6, BASELINE), (6, OURS), (7, OURS), (7, BASELINE)]


def test_seeds() -> None:
    assert parse_seeds("3, 1,20") == [3, 1, 20]
    for wrong in ("", "1,1", "1;2", "-1", "a"):
        with pytest.raises(TinyError, match="seeds"):
            parse_seeds(wrong)


def test_commands_have_the_options_of_their_model(tmp_path: Path) -> None:
    ours, baseline = (study().command(side, 7, tmp_path) for side in (OURS, BASELINE))
    for command in (ours, baseline):
        assert " ".join(command).count("--data folder/train-*.txt --budget 5m --seed 7 --validation folder/valid.txt")
    assert ours[1:4] == ["-m", "mlx_tiny", "train"] and ours[-2:] == ["--preset", "x"]
    assert baseline[:3] == ["python3", "-m", "benchmarks.gpt2_baseline"] and baseline[-2:] == ["--rate", "1e-3"]


def test_a_study_is_done_once_and_kept_after_every_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output, done = tmp_path / "results" / "study.json", []

    def perform(what: runs.Study, side: str, seed: int) -> Run:
        done.append((what.budget, side, seed))
        if len(done) == 5:  # two warm-ups, then the third counted run
            raise TinyError("The run failed")
        return fake_run(seed, side, (OURS_BITS if side == OURS else BASELINE_BITS)[seed])

    monkeypatch.setattr(compare_with_gpt2, "perform", perform)
    command = ["--data", "text.txt", "--seeds", "0,1", "--output", str(output)]
    failed = CliRunner().invoke(compare_with_gpt2.command, command)
    assert isinstance(failed.exception, TinyError)
    assert [run.side for run in read(output, StudyFile, "study").runs] == [OURS, BASELINE]
    again = CliRunner().invoke(compare_with_gpt2.command, [*command, "--no-warm-up"])
    assert again.exit_code == 0, again.output
    assert [entry for entry in done if entry[0] == "5m"][2:] == [
        ("5m", BASELINE, 1),
        ("5m", BASELINE, 1),
        ("5m", OURS, 1),
    ]
    assert "-0.1050 ± 0.0050" in again.output and "No difference is shown" not in again.output
    kept = read(output, StudyFile, "study")
    assert kept.summary.pairs == 2 and len(kept.runs) == 4
    other = CliRunner().invoke(compare_with_gpt2.command, [*command, "--ours", "--preset y"])
    assert isinstance(other.exception, TinyError) and "another study" in str(other.exception)


def test_disturbed_pairs_can_be_forgotten(tmp_path: Path) -> None:
    results = Results(tmp_path / "study.json", study())
    for run in (*fake_runs(), fake_run(4, OURS, 0.7, cores_used_by_others=0.4), fake_run(4, BASELINE, 0.8)):
        results.add(run)
    assert results.forget_disturbed() == 2
    assert Results(tmp_path / "study.json", study()).runs == fake_runs()


def test_ours_is_read_without_its_folders(tmp_path: Path) -> None:
    plain = {
        "float": 0.7,
        "int": 1,
        "str": "x",
        "bool": False,
        "list[str]": ["Once"],
        "float | None": None,
    }
    needed = [field for field in dataclasses.fields(Report) if field.default is field.default_factory]
    values: dict[str, Any] = {field.name: plain.get(str(field.type), {}) for field in needed}
    config = RunConfig(data=DataConfig(sources=("/a/b.txt",)))
    report = Report(**{**values, "machine": MACHINE, "config": config, "data": "own text: /a/b.txt"})
    write_sealed(tmp_path / "report.json", report)
    fields = runs.read_ours(tmp_path)
    assert fields["bits_per_byte"] == 0.7 and fields["samples"] == ["Once"] and fields["machine"] == MACHINE
    assert "/a" not in to_json(fields) and fields["settings"]["data"]["sources"] == ["b.txt"]
    write_sealed(tmp_path / "report.json", dataclasses.replace(report, interrupted=True))
    with pytest.raises(TinyError, match="interrupted"):
        runs.read_ours(tmp_path)


def test_every_file_of_results_is_read() -> None:
    """Each file under `results/` is a record that this version can read."""
    kinds = {record.kind: record for record in (Benchmarks, Profile, Scaling, StudyFile)}
    files = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    assert len(files) >= 8
    for path in files:
        read(path, kinds[json.loads(path.read_text())["kind"]], "results")


def test_neither_the_study_nor_the_shared_data_pipeline_imports_mlx() -> None:
    code = (
        "import sys, benchmarks.compare_with_gpt2, mlx_tiny.data.prepare, mlx_tiny.training.budget; "
        "print([name for name in sys.modules if name.partition('.')[0] in ('mlx', 'torch')])"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"
