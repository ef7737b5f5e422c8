"""The results file of `mlx-tiny bench`: content, warnings, and exit code 3."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlx_tiny.bench import results
from mlx_tiny.bench.record import FAILED, LEFT_OUT, WRONG, Benchmarks
from mlx_tiny.errors import CheckFailed
from mlx_tiny.records import read, write

from .micro import PEAKS, SETTINGS, absent, spread, timed

TOO_FAR = "wrong: output is 9.0 times as far from its reference as is allowed"


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    found = [timed(speed_up={"mlx": spread(2.0)}), absent(LEFT_OUT, "no GPU", implementation="metal")]
    for after in (PEAKS, None):
        whole = results.assemble(found, PEAKS, after, SETTINGS)
        write(tmp_path / "a.json", whole)
        assert read(tmp_path / "a.json", Benchmarks, "results") == whole
        assert whole.complete is (after is not None) and len(whole.warnings) == (after is None)
    assert "not complete" in whole.warnings[0] and whole.created.endswith("+00:00")


def test_names_of_results_are_unique() -> None:
    inference = {"benchmark": "inference", "operation": None, "direction": None}
    found = [
        timed(),
        timed(dtype="bfloat16"),
        timed(direction="forward and backward"),
        timed(implementation="mlx"),
        timed(**inference, part="prompt"),
        timed(**inference, part="decode"),
    ]
    assert len({result.name for result in found}) == len(found)
    assert timed().name == timed(time_s=spread(7.0), error=0.1).name
    assert [found[0].title, found[-1].title] == ["attention, forward, micro", "generation, decode, micro"]


def test_what_follows_from_a_time() -> None:
    found = absent(LEFT_OUT, "", tokens=160).timed(spread(4e-4), {"mlx": spread(2.0)}, 77)
    assert (found.share_of_bound, found.tokens_per_s) == (pytest.approx(0.25), pytest.approx(4e5))
    assert (found.peak_memory_bytes, found.speed_up) == (77, {"mlx": spread(2.0)}) and found.state is not None


def test_a_loaded_machine_is_not_hidden() -> None:
    calm, wide = timed(), timed(time_s=spread(1.0, 0.834, overloaded=True))
    assert results.warnings([calm]) == []
    (warning,) = results.warnings([calm, wide, wide, absent(LEFT_OUT, "no GPU")])
    assert "too loaded to measure 2 of 3 results" in warning and "30 %" in warning and "83%" in warning


@pytest.mark.parametrize(("after", "said"), [(1.1e11, False), (2.64e11, True), (0.5e11, True)])
def test_a_peak_that_changes_is_not_hidden(after: float, said: bool) -> None:
    found = results.changed_peaks(PEAKS, replace(PEAKS, matmul_flops_per_s={"float32": after, "bfloat16": 1e11}))
    assert bool(found) is said
    if said:
        assert f"100 GFLOP/s before and {after / 1e9:.0f} GFLOP/s after" in found[0]


def test_a_memory_that_changes_is_not_hidden() -> None:
    (found,) = results.changed_peaks(PEAKS, replace(PEAKS, copy_bytes_per_s=2e10))
    assert "The peak of copies was 10 GB/s before and 20 GB/s after" in found


def test_a_share_beyond_its_bound_is_not_hidden() -> None:
    fine, beyond = timed(share_of_bound=1.0), timed(share_of_bound=1.01)
    assert results.warnings([fine]) == []
    (warning,) = results.warnings([fine, beyond])
    assert warning.startswith("1 of 2 results were faster than the peaks allow, the first being attention, forward")


@pytest.mark.parametrize("implementation", ["plain", "cpu", "metal", "mlx_tiny", "mlx_tiny, 2 cores"])
def test_a_fault_of_our_own_fails_the_check_and_is_not_hidden(implementation: str) -> None:
    failed = absent(FAILED, "failed: out of memory", implementation=implementation)
    with pytest.raises(CheckFailed, match="Got failed: out of memory"):
        results.require_right([failed])
    wrong = absent(WRONG, TOO_FAR, implementation=implementation)
    with pytest.raises(CheckFailed, match=rf"attention, forward, micro, {implementation}\. Got output is 9\.0 times"):
        results.require_right([timed(), wrong])
    assert results.warnings([wrong])[0].startswith(f"attention, forward, micro, {implementation}: wrong: output is 9.0")
    results.require_right([absent(LEFT_OUT, "no GPU", implementation=implementation)])


@pytest.mark.parametrize("implementation", ["mlx", "torch", "torch tuned", "reference"])
def test_a_fault_of_others_is_reported_without_failing(implementation: str) -> None:
    faults = {WRONG: TOO_FAR, FAILED: "failed: out of memory"}
    results.require_right([absent(outcome, why, implementation=implementation) for outcome, why in faults.items()])
