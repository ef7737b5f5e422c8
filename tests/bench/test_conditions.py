"""What records say of the machine: heat, commit, versions, and nothing private."""

from __future__ import annotations

import getpass
import json
import re
import socket
from pathlib import Path

import pytest

from mlx_tiny.bench import conditions


@pytest.mark.parametrize(
    ("pressure", "limits", "state"),
    [
        ("com.apple.system.thermalpressurelevel 0\n", "", "nominal"),
        ("com.apple.system.thermalpressurelevel 2\n", "", "heavy"),
        ("", "Note: No thermal warning level has been recorded\n", "nominal"),
        ("", "CPU_Speed_Limit \t= 100\n", "nominal"),
        ("com.apple.system.thermalpressurelevel 1\n", " CPU_Speed_Limit = 62", "moderate, CPU held to 62 %"),
        ("com.apple.system.thermalpressurelevel 9\n", "", None),
        ("", "", None),
    ],
)
def test_the_thermal_state_of_a_mac(pressure: str, limits: str, state: str | None) -> None:
    assert conditions.thermal_state_of_mac(pressure, limits) == state


@pytest.mark.parametrize(
    ("zones", "state"), [([], None), (["41500", "63400"], "63 °C"), (["off", "20000"], "20 °C"), (["off"], None)]
)
def test_the_thermal_state_of_linux(tmp_path: Path, zones: list[str], state: str | None) -> None:
    for number, text in enumerate(zones):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text + "\n")
    assert conditions.thermal_state_of_linux(tmp_path) == state


def test_circumstances_say_what_a_record_must_carry() -> None:
    found = conditions.circumstances()
    assert {*conditions.NEEDED, "versions", "memory_bytes"} <= set(found) and found["chip"] and found["blas"]
    assert found["versions"]["mlx"] and found["versions"]["mlx_tiny"]
    assert json.loads(json.dumps(found)) == found


def test_nothing_names_the_computer_its_user_or_a_folder() -> None:
    text = json.dumps(conditions.circumstances())
    words = set(re.findall(r"[\w.-]+", text))
    assert not words & {socket.gethostname(), getpass.getuser()}
    assert str(Path.home()) not in text and str(Path.cwd()) not in text


def test_the_commit_is_that_of_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = {"rev-parse": "0123456789ab\n", "status": ""}
    monkeypatch.setattr(conditions, "_told", lambda *command: answers[command[3]])
    monkeypatch.setattr(conditions, "_ROOT", tmp_path)
    commit = conditions.commit.__wrapped__
    assert commit() is None
    (tmp_path / ".git").mkdir()
    assert commit() == "0123456789ab"
    answers["status"] = " M README.md"
    assert commit() == "0123456789ab+changes"
    answers["rev-parse"] = answers["status"] = ""  # git is not there
    assert commit() is None
