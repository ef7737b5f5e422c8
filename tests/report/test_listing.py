"""Which runs are found, and what is said of them in each state."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.records import EvaluationRecord, StepRecord
from mlx_tiny.report.listing import DAMAGED, GOING_ON, INTERRUPTED, NOT_BEGUN, WHOLE, ListedRun, find_runs, list_runs

from .planted_runs import TEXT, planted_run, unreported_run


def listed(path: Path) -> ListedRun:
    (run,) = list_runs([path])
    return run


def test_a_whole_run_is_listed_as_its_report_has_it(tmp_path: Path) -> None:
    planted_run(tmp_path / "a", 0.75, seed=3, report={"with_counting_bits_per_byte": 0.7})
    run = listed(tmp_path / "a")
    assert (run.name, run.state, run.note, run.path) == ("a", WHOLE, None, str(tmp_path / "a"))
    assert (run.bits_per_byte, run.with_counting_bits_per_byte, run.fingerprint) == (0.75, 0.7, TEXT)
    assert (run.budget, run.preset, run.seed, run.parameters) == ("20ktok", "strongest-tiny", 3, 123_456)


def test_the_state_is_that_of_the_run(tmp_path: Path) -> None:
    run = unreported_run(tmp_path / "a")
    assert listed(run.path).state == NOT_BEGUN
    run.metrics.append(StepRecord(7, 2.0, 448, 1e6, 1.5, 0.25, 1.0, 300.0))
    run.metrics.append(EvaluationRecord(7, 448, 1.5, 0.25, 2.5))
    found = listed(run.path)
    assert (found.state, found.steps, found.bits_per_byte) == (INTERRUPTED, 7, None)
    assert found.note is not None and "step 7" in found.note and "25%" in found.note and "2.5" in found.note
    with run.locked():
        assert listed(run.path).state == GOING_ON
    other = planted_run(tmp_path / "b")
    with other.locked():
        assert listed(other.path).state == GOING_ON
    assert listed(planted_run(tmp_path / "c", report={"interrupted": True}).path).state == INTERRUPTED
    assert listed(planted_run(tmp_path / "d", report={"continued": True}).path).state == INTERRUPTED


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", b"{", "config.json cannot be read"),
        ("config.json", b'{"format_version": 1}', "another version"),
        ("report.json", b"\xff", "cannot be read"),
        ("report.json", b"{}", "not as it was written"),
        ("weights.safetensors", b"x", "damaged"),
        ("weights.safetensors", None, "weights"),
    ],
)
def test_a_damaged_run_does_not_stop_the_list(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    planted_run(tmp_path / "a")
    planted_run(tmp_path / "b")
    if content is None:
        (tmp_path / "a" / name).unlink()
    else:
        (tmp_path / "a" / name).write_bytes(content)
    first, second = list_runs(find_runs([tmp_path]))
    assert (first.state, second.state) == (DAMAGED, WHOLE)
    assert first.note is not None and reason in first.note and first.bits_per_byte is None


def test_a_report_of_other_weights_is_damage(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "a")
    run.save_weights({"weight": mx.ones(1)}, 200)
    assert listed(run.path).state == DAMAGED


def test_only_runs_are_found_and_each_once(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        planted_run(tmp_path / "runs" / name)
    exported = tmp_path / "runs" / "exported"
    exported.mkdir()
    (exported / "config.json").write_text(json.dumps({"model_type": "qwen3"}))
    (tmp_path / "runs" / "empty").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("")
    (tmp_path / "runs" / "loop").symlink_to("loop")
    runs = tmp_path / "runs"
    assert find_runs([runs]) == [runs / "a", runs / "b"] == find_runs([runs / "a", runs])
    assert find_runs([runs / "empty"]) == []
    with pytest.raises(TinyError, match="no folder"):
        find_runs([runs / "missing"])
