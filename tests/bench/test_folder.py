"""The folder of a measurement is removed, also after a kill."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tiny_run import subprocess_environment

from mlx_tiny.bench.folder import temporary_folder

KILLED = """
import os
from mlx_tiny.bench.folder import temporary_folder
with temporary_folder():
    os.kill(os.getpid(), 9)
"""


def test_the_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**subprocess_environment(), "TMPDIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", KILLED], env=environment, timeout=60).returncode == -9
    (left,) = tmp_path.iterdir()
    with temporary_folder() as mine, temporary_folder() as other:
        assert {mine, other} == set(tmp_path.iterdir()) and left not in (mine, other)
        (mine / "weights.npz").write_bytes(b"weights")
    assert list(tmp_path.iterdir()) == []
