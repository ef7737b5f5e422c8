"""Two files of `mlx-tiny bench` side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bench.micro import MACHINE, timed_record
from click.testing import CliRunner

from benchmarks import read_results
from mlx_tiny.errors import TinyError
from mlx_tiny.files import write_json
from mlx_tiny.records import to_plain


def file(*records: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "mlx-tiny bench",
        "format_version": 1,
        "created": "2026-01-02T03:04:05+00:00",
        "machine": to_plain(MACHINE),
        "warnings": ["The machine was too loaded"] if any(r.get("overloaded") for r in records) else [],
        "records": list(records),
    }


def absent(**changes: Any) -> dict[str, Any]:
    """A record without times."""
    return {k: v for k, v in timed_record(**changes).items() if k not in ("median_s", "p10_s", "p90_s", "overloaded")}


def test_ratios_by_record_whatever_the_order() -> None:
    first = file(timed_record(), timed_record(implementation="mlx", median_s=6e-3))
    second = file(timed_record(implementation="mlx"), timed_record(median_s=1e-3, p10_s=0.95e-3, p90_s=1.1e-3))
    plain, built_in = read_results.compare(first, second)
    assert plain["name"][-1] == "plain" and plain["speed_up"] == pytest.approx(2)
    assert (plain["low"], plain["high"]) == (pytest.approx(1.9 / 1.1), pytest.approx(2.2 / 0.95))
    assert built_in["name"][-1] == "mlx" and built_in["speed_up"] == pytest.approx(3)


def test_what_only_one_file_has_is_named() -> None:
    metal = timed_record(implementation="metal")
    here, there = file(timed_record(), absent(implementation="metal", reason="no GPU")), file(metal)
    plain, kernel = read_results.compare(here, there)
    assert plain["second_reason"] == "not measured" and "speed_up" not in plain
    assert kernel["first_reason"] == "no GPU" and kernel["second_s"] == 2e-3
    lines = list(read_results.lines(here, there))
    assert lines[-2].split()[-4:] == ["-", "second:", "not", "measured"]
    assert lines[-1].split()[-5:] == ["2", "ms", "first:", "no", "GPU"]


def test_what_neither_has_a_time_of_is_left_out_of_the_table() -> None:
    both = file(timed_record(), absent(implementation="torch", reason="PyTorch is not installed"))
    lines = list(read_results.lines(both, both))
    assert not any("torch" in line for line in lines[2:]) and len(read_results.compare(both, both)) == 2
    assert lines[-1].endswith("plain   2 ms    2 ms  1.00 (0.86 to 1.16)")


def test_machines_and_warnings_come_first() -> None:
    lines = list(read_results.lines(file(timed_record(overloaded=True)), file(timed_record())))
    assert lines[0] == (
        "first: 2026-01-02T03:04:05+00:00, machine: a chip, 2 cores, cpu; Linux 6; BLAS a BLAS; load 0.1; mlx_tiny 2; "
        "mlx 1"
    )
    assert lines[1] == "first: warning: The machine was too loaded" and lines[2].startswith("second: ")
    assert "2 ms!" in lines[-1] and lines[-1].endswith("1.00 (0.86 to 1.16)!")


def test_the_command(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path, seconds in zip(paths, (2e-3, 1e-3), strict=True):
        write_json(path, file(timed_record(median_s=seconds)))
    arguments = [str(path) for path in paths]
    shown = CliRunner().invoke(read_results.command, arguments)
    assert shown.exit_code == 0 and "2.00 (0.86 to 1.16)" in shown.output
    shown = CliRunner().invoke(read_results.command, [*arguments, "--json"])
    assert json.loads(shown.output)["comparisons"][0]["speed_up"] == pytest.approx(2)


def test_another_file_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"kind": "scaling"})
    found = CliRunner().invoke(read_results.command, [str(tmp_path / "a.json")] * 2)
    assert isinstance(found.exception, TinyError) and "got kind 'scaling'" in str(found.exception)


@pytest.mark.parametrize("missing", ["created", "warnings", "machine", "records"])
def test_a_damaged_file_is_explained(tmp_path: Path, missing: str) -> None:
    write_json(tmp_path / "a.json", {name: value for name, value in file(timed_record()).items() if name != missing})
    found = CliRunner().invoke(read_results.command, [str(tmp_path / "a.json")] * 2)
    assert isinstance(found.exception, TinyError) and "a.json is" in str(found.exception)
