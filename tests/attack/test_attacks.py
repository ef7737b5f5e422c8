"""Whatever is damaged: a command gives the right result, or says in one paragraph why not, and what was whole stays so.

MLX_TINY_ATTACKS and MLX_TINY_ATTACK_SEED make more attacks and others; `python -m attack` counts them by kind. Where an
attack ends the process, its line is in the newest *.journal below the folder of pytest's temporary files.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.files import read_json

from . import attack as attacks
from .attack import Attack
from .campaign import Campaign
from .victims import make_victim

ATTACKS = int(os.environ.get("MLX_TINY_ATTACKS", "500"))
SEED = int(os.environ.get("MLX_TINY_ATTACK_SEED", "0"))
PARTS = [
    ("runs", "config.json"),
    ("runs", "safetensors"),
    ("runs", "^(run|stopped|tuned)/"),
    ("runs", "^home/"),
    ("events", ""),
    ("mixture", ""),
    ("texts", ""),
]


@pytest.fixture(scope="session")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Campaign]:
    """Makes a victim once per process."""

    @functools.cache
    def of(name: str) -> Campaign:
        folder = tmp_path_factory.mktemp(name)
        return Campaign(make_victim(name, folder), folder)

    return of


@pytest.mark.parametrize(("victim", "pattern"), PARTS)
def test_no_damage_goes_unnoticed(
    victim: str, pattern: str, campaign: Callable[[str], Campaign], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no machine fails here
    monkeypatch.setattr("mlx_tiny.report.picture.draw", lambda *_: None)
    monkeypatch.setattr("mlx_tiny.cli.results._FINAL_SAMPLE_TOKENS", 2)
    found = list[str]()

    def tell(attack: Attack, faults: list[str]) -> None:
        found.extend(f"{fault}\n    python -m attack --repeat '{attack.line()}'" for fault in faults)

    campaign(victim).run(-(-ATTACKS // len(PARTS)), SEED, pattern, tell)
    assert not found, "\n".join([f"{len(found)} faults, of which the first are:", *found[:5]])


def _defect(*_: Any) -> None:
    raise KeyError("progress")


def _sleep(*_: Any) -> None:
    time.sleep(60)


def _meddle(path: Path, _: str) -> None:
    (path.parent / "report.json").unlink()
    raise TinyError("Damaged")


def _tell(path: Path, what: str) -> Any:
    print("\x1b[2J")
    return read_json(path, what)


@pytest.mark.parametrize(
    ("function", "planted", "edit", "fault"),
    [
        ("arrays.CHECKSUM", "absent", ["set_element", "head", 7, 0.5], "silent change"),
        ("described.read_json", _defect, ["cut", 9], "traceback of KeyError"),
        ("described.read_json", _sleep, ["cut", 9], "hang"),
        ("described.read_json", _meddle, ["cut", 9], "changed: run/report.json"),
        ("described.read_json", _tell, ["cut", 9], "output before an error"),
        ("described.read_json", _tell, ["cut", 9], "stdout has"),
    ],
)
def test_planted_faults_are_found(
    function: str,
    planted: Any,
    edit: list[Any],
    fault: str,
    campaign: Callable[[str], Campaign],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = "run/config.json" if edit[0] == "cut" else "run/weights.safetensors"
    attack, of_runs = Attack("runs", file, edit, ("score", "run", "two.txt", "--json")), campaign("runs")
    assert of_runs.faults(attack) == []
    monkeypatch.setattr(f"mlx_tiny.training.{function}", planted)
    monkeypatch.setattr(attacks, "HANG_S", 1)
    assert any(found.startswith(fault) for found in of_runs.faults(attack))
