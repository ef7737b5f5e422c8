"""Measured peaks, and the bounds that follow from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from bench.micro import PEAKS

from mlx_tiny.machine import peaks
from mlx_tiny.records import from_plain, to_plain


@pytest.mark.parametrize(
    ("flops", "moved", "launches", "seconds", "by"),
    [(1e9, 1e6, 1, 1e-2, "compute"), (1e6, 1e8, 1, 1e-2, "memory"), (10, 10, 3, 3e-6, "launch")],
)
def test_the_longest_part_is_the_bound(flops: float, moved: float, launches: int, seconds: float, by: str) -> None:
    found = peaks.bound(PEAKS, "float32", flops=flops, moved_bytes=moved, launches=launches)
    assert (found.seconds, found.by) == (pytest.approx(seconds), by)


CACHED = replace(PEAKS, cached_bytes_per_s={"1000000": 5e10, "4000000": 2e10, "16000000": 3e10})


@pytest.mark.parametrize(
    ("moved", "rate"),
    [
        (1e3, 5e10),  # smaller than all that was measured
        (1e6, 5e10),
        (3.9e6, 5e10),  # nobody knows but that it is no faster than what is smaller
        (4e6, 3e10),  # what is larger was faster
        (16e6, 3e10),
        (1e8, 3e10),
        (1.4e8, 1e10),  # the copy from memory
    ],
)
def test_what_a_cache_can_hold_moves_faster(moved: float, rate: float) -> None:
    assert CACHED.moved_per_s(moved) == rate
    found = peaks.bound(CACHED, "float32", flops=0, moved_bytes=moved, launches=0)
    assert (found.seconds, found.by) == (pytest.approx(moved / rate), "memory")
    assert PEAKS.moved_per_s(moved) == 1e10


def test_measured_peaks_are_plausible() -> None:
    found = peaks.measure(["float32", "bfloat16"], seconds=0.02)
    assert set(found.matmul_flops_per_s) == {"float32", "bfloat16"}
    assert all(1e8 < rate < 1e15 for rate in found.matmul_flops_per_s.values())
    assert 1e8 < found.copy_bytes_per_s < 1e14
    assert sorted(map(int, found.cached_bytes_per_s)) == [1_000_000, 4_000_000, 16_000_000]
    assert all(1e8 < rate < 1e15 for rate in found.cached_bytes_per_s.values())
    assert 0 <= found.launch_s < 1e-2 and 1e-7 < found.evaluation_s < 1
    assert found.products in ("float32", "tf32")
    assert from_plain(peaks.Peaks, to_plain(found)) == found


def test_rounded_operands_are_noticed() -> None:
    def rounded(array: np.ndarray) -> np.ndarray:
        """To the ten bits of mantissa that TF32 has."""
        return (array.view(np.uint32) + 0x1000 & 0xFFFFE000).view(np.float32)

    assert peaks.precision_of_products(lambda a, b: rounded(a) @ rounded(b)) == "tf32"
    assert peaks.precision_of_products(lambda a, b: a @ b) == "float32"
