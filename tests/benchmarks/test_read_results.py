"""The comparison of two files of `mlx-tiny bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bench.micro import MACHINE, PEAKS, SETTINGS, absent, spread, timed
from click.testing import CliRunner

from benchmarks import read_results
from mlx_tiny.bench.record import LEFT_OUT, Benchmarks, Result
from mlx_tiny.errors import TinyError
from mlx_tiny.files import write_json
from mlx_tiny.records import to_plain, write


def file(*results: Result) -> Benchmarks:
    loaded = any(result.time_s and result.time_s.overloaded for result in results)
    warnings = ["The machine was too loaded"] if loaded else []
    return Benchmarks("2026-01-02", True, SETTINGS, MACHINE, PEAKS, PEAKS, warnings, list(results))


def test_ratios_by_result_whatever_the_order() -> None:
    first = file(timed(), timed(implementation="mlx", time_s=spread(6e-3)))
    second = file(timed(implementation="mlx"), timed(time_s=spread(1e-3)))
    plain, built_in = read_results.compare(first, second)
    assert plain.name[-1] == "plain" and plain.speed_up == pytest.approx(2)
    assert (plain.low, plain.high) == (pytest.approx(1.9 / 1.1), pytest.approx(2.2 / 0.95))
    assert built_in.name[-1] == "mlx" and built_in.speed_up == pytest.approx(3)


def test_rows_that_only_one_file_has_are_named() -> None:
    metal = timed(implementation="metal")
    here, there = file(timed(), absent(LEFT_OUT, "no GPU", implementation="metal")), file(metal)
    plain, kernel = read_results.compare(here, there)
    assert plain.second_reason == "not measured" and plain.speed_up is None
    assert kernel.first_reason == "no GPU" and kernel.second_s == 2e-3
    lines = list(read_results.lines(here, there))
    assert "  plain  first: 2 ms; second: not measured" in lines and "  metal  first: no GPU; second: 2 ms" in lines


def test_rows_without_a_time_are_left_out_of_the_table() -> None:
    both = file(timed(), absent(LEFT_OUT, "PyTorch is not installed", implementation="torch"))
    lines = list(read_results.lines(both, both))
    assert not any("PyTorch" in line for line in lines) and len(read_results.compare(both, both)) == 2
    assert "  plain   2 ms    2 ms  1.00 (0.86 to 1.16)" in lines


def test_machines_and_warnings_come_first() -> None:
    loaded = file(timed(time_s=spread(2e-3, overloaded=True)))
    text = " ".join(" ".join(read_results.lines(loaded, file(timed()))).split())
    assert text.startswith("first: 2026-01-02, machine: a chip, 2 cores, cpu; Linux 6;")
    assert "first: warning: The machine was too loaded second: 2026-01-02, machine" in text
    assert "plain 2 ms 2 ms 1.00 (0.86 to 1.16)!" in text


def test_the_command(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path, seconds in zip(paths, (2e-3, 1e-3), strict=True):
        write(path, file(timed(time_s=spread(seconds))))
    arguments = [str(path) for path in paths]
    shown = CliRunner().invoke(read_results.command, arguments)
    assert shown.exit_code == 0 and "2.00 (1.73 to 2.32)" in shown.output
    shown = CliRunner().invoke(read_results.command, [*arguments, "--json"])
    assert json.loads(shown.output)["comparisons"][0]["speed_up"] == pytest.approx(2)


@pytest.mark.parametrize("missing", ["kind", "created", "warnings", "machine", "results"])
def test_another_or_a_damaged_file_is_explained(tmp_path: Path, missing: str) -> None:
    write_json(tmp_path / "a.json", {k: v for k, v in to_plain(file(timed())).items() if k != missing})
    found = CliRunner().invoke(read_results.command, [str(tmp_path / "a.json")] * 2)
    assert isinstance(found.exception, TinyError) and "a.json is" in str(found.exception)
