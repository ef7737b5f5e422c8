"""The picture: drawn where matplotlib is."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_tiny.bench import roofline

from .micro import PEAKS, timed_record


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `plot`)")
    records = [timed_record(), timed_record(implementation="cpu"), {"benchmark": "step"}]
    for number, some in enumerate((records, [])):
        path = tmp_path / f"{number}.png"
        roofline.plot(some, PEAKS, path)
        assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_signs_begin_again_where_they_run_out() -> None:
    records = [timed_record(implementation=name) for name in ("plain", "mlx", "plain", "cpu")]
    assert roofline._keys(records, ("implementation",), "ab") == {("plain",): "a", ("mlx",): "b", ("cpu",): "a"}
