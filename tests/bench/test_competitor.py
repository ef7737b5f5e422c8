"""The process of a competitor: its answers and its end."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_tiny.bench.competitor import Competitor
from mlx_tiny.bench.weights import nonzero_weights
from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.tools.signals import Interrupted

from .micro import MICRO


def test_a_process_takes_steps_and_ends_when_it_is_no_longer_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLX_TINY_LANES", "3")
    config = replace(MICRO.config(), train=replace(MICRO.config().train, compile=False))
    arrays: dict[str, Any] = nonzero_weights(config.model)
    np.savez(tmp_path / "weights.npz", **arrays)
    with Competitor("mlx_tiny", config, tmp_path / "weights.npz", tmp_path / "log", cores=1) as competitor:
        competitor.prepared()
        assert len(competitor.take(2)[1]) == 2 and ", 1 lanes" in competitor.description
        assert 1e7 < competitor.peak_memory_bytes < 1e11
    assert competitor._child.process.returncode == 0


def test_the_last_words_of_a_process_that_died_are_quoted(tmp_path: Path) -> None:
    with (
        Competitor("mlx_tiny", RunConfig(), tmp_path / "there is none.npz", tmp_path / "log") as competitor,
        pytest.raises(TinyError, match=r"it ended with exit code 1; its last words were: FileNotFoundError: "),
    ):
        competitor.prepared()


def test_a_process_is_killed_without_patience_after_an_interruption(tmp_path: Path) -> None:
    with (
        pytest.raises(Interrupted),
        Competitor("mlx_tiny", RunConfig(), tmp_path / "weights.npz", tmp_path / "log") as competitor,
    ):
        raise Interrupted(signal.SIGINT)
    assert competitor._child.process.returncode == -signal.SIGKILL
