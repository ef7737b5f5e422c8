"""The expected duration of a benchmark: at least what was asked for, and more on a slow machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mlx_tiny.bench.expectation import expected_seconds
from mlx_tiny.machine.peaks import Peaks

from .micro import PEAKS, SETTINGS

FAST = replace(PEAKS, matmul_flops_per_s={"float32": 1e15})
SLOW = replace(PEAKS, matmul_flops_per_s={"float32": 2e7})


def seconds(peaks: Peaks, *benchmarks: str, **changes: Any) -> float:
    return expected_seconds(replace(SETTINGS, benchmarks=list(benchmarks), **changes), peaks)


def test_a_slow_machine_takes_longer_and_leaves_out_what_is_too_long() -> None:
    assert seconds(SLOW, "step") > seconds(FAST, "step") + 1
    assert seconds(replace(SLOW, matmul_flops_per_s={"float32": 1e3}), "step") == 0
    assert seconds(FAST, "kernels", "step", "inference") == pytest.approx(64 + 90 + 2, rel=0.01)
