"""Compilation on a CPU, and lanes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.linux import lanes

ASK = "from mlx_tiny.linux.lanes import why_not_compiled; print(why_not_compiled())"


def asked(folder: Path, **environment: str) -> str:
    """Output about compilation of a new process that finds g++ only in `folder`."""
    changed = {**os.environ, "TMPDIR": str(folder), "PATH": str(folder), **environment}
    finished = subprocess.run([sys.executable, "-c", ASK], env=changed, capture_output=True, text=True, check=True)
    return finished.stdout.strip()


@pytest.fixture
def decided_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "why_not_compiled", lanes.why_not_compiled.__wrapped__)


@pytest.mark.usefixtures("decided_anew")
def test_a_gpu_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "on_cpu", lambda: False)
    monkeypatch.setattr(lanes, "output", lambda *_: pytest.fail("looked for a compiler"))
    assert lanes.why_not_compiled() is None


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="MLX computes on a GPU here")
@pytest.mark.parametrize("broken", [False, True])
def test_without_a_compiler_the_reason_names_it(tmp_path: Path, broken: bool) -> None:
    if broken:
        (tmp_path / "g++").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "g++").chmod(0o755)
    assert "g++, which is not on the PATH" in asked(tmp_path)


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="MLX computes on a GPU here")
def test_a_broken_compiler_is_found_out(tmp_path: Path) -> None:
    compiler = tmp_path / "g++"
    # It answers when asked for its version, as MLX does first, and then makes nothing.
    compiler.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 12\n')
    compiler.chmod(0o755)
    assert "could not compile a CPU graph" in asked(tmp_path)


@pytest.mark.parametrize(
    ("rows", "counts"), [(1, [1]), (3, [1, 1, 1]), (4, [1] * 4), (7, [2, 2, 2, 1]), (8, [2] * 4), (9, [3, 2, 2, 2])]
)
def test_lanes_share_rows_as_equally_as_rows_allow(
    rows: int, counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "lanes", lambda: (mx.default_stream(mx.default_device()),) * 4)
    assert lanes.shares(rows) == counts
    parts: list[Any] = []
    x = mx.arange(rows)

    def seen(part: mx.array, *others: mx.array) -> mx.array:
        parts.append(part.tolist())
        return part * others[0]

    assert lanes.over_lanes(seen, x, x + 1).tolist() == [i * (i + 1) for i in range(rows)]
    assert [len(part) for part in parts] == counts and list(itertools.chain(*parts)) == x.tolist()
    total, sums = lanes.summed_over_lanes(lambda part, share: (part.sum() * share, {"whole": part.sum()}), x)
    assert sums["whole"].item() == sum(range(rows))
    expected = sum(sum(part) * len(part) / rows for part in parts)
    assert total.item() == pytest.approx(expected)


def test_one_lane_is_what_a_gpu_has() -> None:
    with lanes.one_lane():
        assert len(lanes.lanes()) == 1 and lanes.shares(7) == [7]
    assert len(lanes.lanes()) == len(lanes._lanes())


@pytest.mark.parametrize("text", ["abc", "2.5", "-3", "0"])
def test_an_invalid_number_of_lanes_is_explained(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_TINY_LANES", text)
    with pytest.raises(TinyError, match=r"MLX_TINY_LANES.*whole number.*Unset it"):
        lanes._asked_lanes()
