"""The process of a side: what it answers, and what is said of one that answers nothing."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlx_tiny.bench import side as side_module
from mlx_tiny.bench.side import Side
from mlx_tiny.bench.weights import nonzero_weights
from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError

from .micro import MICRO


def test_a_process_takes_steps_and_ends_when_it_is_no_longer_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_TINY_LANES", "3")
    config = replace(MICRO.config(), train=replace(MICRO.config().train, compile=False))
    np.savez(tmp_path / "weights.npz", **nonzero_weights(config.model))
    side = Side.start("mlx_tiny", config, tmp_path / "weights.npz", tmp_path / "log", cores=1)
    side.prepared()
    assert len(side.take(2)[1]) == 2 and ", 1 lanes" in side.description
    assert 1e7 < side.peak_memory_bytes < 1e11
    side.close()
    assert side.process.returncode == 0


def test_the_last_words_of_a_process_that_died_are_quoted(tmp_path: Path) -> None:
    side = Side.start("mlx_tiny", RunConfig(), tmp_path / "there is none.npz", tmp_path / "log")
    with pytest.raises(TinyError, match=r"it ended with exit code 1; its last words were: FileNotFoundError: "):
        side.prepared()
    side.close()


def scripted(program: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Side:
    """A side whose process is another program."""
    folder.joinpath("program").write_text(f"#!{sys.executable}\n{program}\n")
    folder.joinpath("program").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "program"))
    return Side.start("mlx_tiny", RunConfig(), folder / "weights", folder / "log")


def test_a_process_that_says_nothing_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_module, "_PATIENCE_S", 0.1)
    side = scripted("import time; time.sleep(60)", tmp_path, monkeypatch)
    with pytest.raises(TinyError, match=r"it gave no answer in 0 s"):
        side.prepared()
    assert side.process.wait(timeout=5) == -9
    side.close()


def test_a_process_that_dies_between_two_turns_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = 'print(\'{"description": "d"}\', flush=True); sys.stderr.write("no memory\\n\\n"); os.abort()'
    side = scripted(f"import os, sys; {answer}", tmp_path, monkeypatch)
    side.prepared()
    with pytest.raises(TinyError, match=r"exit code -6; its last words were: no memory"):
        side.take(1)
    side.close()
