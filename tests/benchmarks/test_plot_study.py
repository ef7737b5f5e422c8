"""The chart of the paired study."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import plot_study
from benchmarks.pairs import StudyFile
from mlx_tiny.errors import TinyError
from mlx_tiny.records import read
from mlx_tiny.tools.processes import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "gpt2_tinystories_5m.json"


def test_a_study_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra `plot`)")
    path = tmp_path / "chart.png"
    finished = CliRunner().invoke(plot_study.command, [str(RESULTS), "--output", str(path)])
    assert finished.exit_code == 0 and finished.output == f"drawn: {path}\n"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_study_without_a_pair_cannot_be_drawn(tmp_path: Path) -> None:
    study = read(RESULTS, StudyFile, "results of the study")
    with pytest.raises(TinyError, match="no complete pair"):
        plot_study.draw(dataclasses.replace(study, runs=study.runs[:1]), tmp_path / "chart.png")
    assert not list(tmp_path.iterdir())
