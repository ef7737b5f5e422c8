"""An empty folder and cache for each test, and one trained run for tests that only read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .command_line import TINY, call, succeeded, workplace, write_notes


@pytest.fixture(autouse=True)
def place(tmp_path: Path) -> Iterator[Path]:
    """The current folder, with notes.txt and, if it is needed, the cache `home`."""
    with workplace(tmp_path):
        write_notes(tmp_path / "notes.txt")
        yield tmp_path


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of single tests draw no loss.png, which takes as long as their training."""
    monkeypatch.setattr("mlx_tiny.report.picture.draw", lambda *_: None)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, beside its notes.txt; tests must not change it."""
    with workplace(tmp_path_factory.mktemp("trained")) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlx_tiny.report.picture.draw", lambda *_: None)
        write_notes(folder / "notes.txt")
        succeeded(call("train", "--data", "notes.txt", *TINY, "--budget", "9000tok", "--run", "run"))
    return folder / "run"
