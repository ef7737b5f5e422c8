"""The picture of the roofline, where matplotlib is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_tiny.bench import results, roofline

from .micro import PEAKS, SETTINGS, timed


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `plot`)")
    found = [timed(), timed(implementation="cpu"), timed(benchmark="step", operation=None)]
    for number, some in enumerate((found, [])):
        path = tmp_path / f"{number}.png"
        roofline.plot(results.assemble(some, PEAKS, PEAKS, SETTINGS), path)
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_signs_begin_again_where_they_run_out() -> None:
    assert roofline._signs(["plain", "mlx", "plain", "cpu"], "ab") == {"plain": "a", "mlx": "b", "cpu": "a"}
