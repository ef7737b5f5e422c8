"""What is written at the end: refused at the beginning where it cannot be."""

from __future__ import annotations

import datetime
import errno
import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

from mlx_tiny.bench import output
from mlx_tiny.errors import TinyError


def test_a_file_that_can_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    output.require_writable(None, tmp_path / "new.json", tmp_path / "old.json")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(TinyError, match=r"is a folder\. Expected the name of a file\. Name a file in it"):
        output.require_writable(None, tmp_path)


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(TinyError, match="is no ordinary file"):
        output.require_writable(tmp_path / "pipe")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(TinyError, match="where does not exist"):
        output.require_writable(tmp_path / "where" / "a.json")


def test_a_folder_that_takes_no_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # permissions do not hold for root
    with pytest.raises(
        TinyError, match=r"cannot be written\. Got Read-only file system\. Name a file in another folder"
    ):
        output.require_writable(tmp_path / "a.json")


def test_the_file_of_a_machine_and_a_day() -> None:
    name = output.default_name("Apple M3 Max (virtual)", datetime.datetime(2026, 1, 2, 3, 4, 5))
    assert name == Path("mlx-tiny-bench-apple-m3-max-virtual-20260102-030405.json")


def test_without_matplotlib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TinyError, match=r"--plot needs it\. Install it with `pip install 'mlx-tiny\[plot\]'`"):
        output.require_matplotlib()
