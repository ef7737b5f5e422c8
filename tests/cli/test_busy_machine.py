"""A run on a machine that other programs use says so, and compares itself with the best that was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_tiny.machine.load import OtherPrograms

from .command_line import FEW_PAUSES, TINY, call, read_report, succeeded

TRAIN = ("train", "--data", "notes.txt", *TINY, *FEW_PAUSES, "--budget", "1000tok", "--run", "r")


@pytest.mark.parametrize(("cores", "peaks"), [(0.7, [2e11, 4e11, 3e11, 5e11]), (0.0, [2e11])])
def test_load_is_reported(place: Path, monkeypatch: pytest.MonkeyPatch, cores: float, peaks: list[float]) -> None:
    left = iter(peaks)  # three looks before the run, and one after it
    monkeypatch.setattr(OtherPrograms, "cores", lambda _: cores)
    monkeypatch.setattr("mlx_tiny.machine.state.usable_cores", lambda: 2)
    monkeypatch.setattr("mlx_tiny.machine.load.usable_cores", lambda: 2)
    monkeypatch.setattr("mlx_tiny.training.backend.matmul_peak", lambda _: next(left))
    finished, busy = succeeded(call(*TRAIN)), cores > 0
    report = read_report(place / "r")
    assert report["peak_flops_per_s"] == max(peaks) and next(left, None) is None
    assert report["state_at_start"]["other_cores"] == report["machine"]["state"]["other_cores"] == cores
    assert ("warning: other programs use 0.7 of 2 cores" in finished.err) is busy
    assert (finished.results().get("other_programs_cores") == "0.7") is busy
    markdown = (place / "r" / "report.md").read_text()
    assert ("other programs | 0.7" in markdown) is busy and "state at the start" in markdown
