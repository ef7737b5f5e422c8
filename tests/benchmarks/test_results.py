"""The recorded results and the study files beside them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scaling import Scaling
from mlx_tiny.bench.record import Benchmarks, Profile
from mlx_tiny.cli.study_command import require_known_options
from mlx_tiny.records import read
from mlx_tiny.study.arms import parse_seeds, read_description
from mlx_tiny.study.results import StudyFile
from mlx_tiny.tools.processes import ROOT

RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))
STUDIES = sorted((ROOT / "benchmarks" / "studies").glob("*.yaml"))
KINDS = {record.kind: record for record in (Benchmarks, Profile, Scaling, StudyFile)}


@pytest.mark.parametrize("path", RESULTS, ids=[path.stem for path in RESULTS])
def test_every_file_of_results_is_read(path: Path) -> None:
    read(path, KINDS[json.loads(path.read_text())["kind"]], "results")


@pytest.mark.parametrize("path", STUDIES, ids=[path.stem for path in STUDIES])
def test_every_study_can_begin(path: Path) -> None:
    described = read_description(path)
    arms = described.assembled()
    require_known_options(arms)
    assert len(arms) > 1 and parse_seeds(described.seeds or "")
