"""The file of records: what it holds, what it warns of, what is no such file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.bench import results
from mlx_tiny.errors import CheckFailed, TinyError
from mlx_tiny.files import write_json

from .micro import PEAKS, timed_record

WRONG = {"reason": "wrong: output is 9.0 times as far from its reference as is allowed", "wrong": True}


def reasoned(**changes: Any) -> dict[str, Any]:
    record = timed_record(**changes)
    return {name: value for name, value in record.items() if not name.endswith("_s") and name != "spread"}


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    whole = results.assemble(
        [timed_record(), reasoned(implementation="metal", reason="no GPU")], PEAKS, PEAKS, {"seconds": 1}
    )
    assert whole["machine"]["chip"] and whole["created"].endswith("+00:00")
    assert whole["complete"] and whole["warnings"] == []
    write_json(tmp_path / "a.json", whole)
    assert results.read(tmp_path / "a.json") == json.loads(json.dumps(whole))


def test_what_is_not_finished_says_so(tmp_path: Path) -> None:
    whole = results.assemble([timed_record()], PEAKS, None, {})
    assert not whole["complete"] and whole["peaks_after"] is None and whole["warnings"][0].startswith("This is not")
    write_json(tmp_path / "a.json", whole)
    assert results.read(tmp_path / "a.json")["records"][0]["median_s"] == 2e-3


def test_what_is_no_number_is_null() -> None:
    record = reasoned(**WRONG, error=float("inf"), others=[float("nan"), 1.0, "text"])
    (found,) = results.assemble([record], PEAKS, PEAKS, {})["records"]
    assert found["error"] is None and found["others"] == [None, 1.0, "text"]
    json.dumps(found, allow_nan=False)


def file(**changes: Any) -> dict[str, Any]:
    """A whole file, with something changed in it, or left out by None."""
    whole = {**results.assemble([timed_record()], PEAKS, PEAKS, {}), **changes}
    return {name: value for name, value in whole.items() if value is not None}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in timed_record().items() if key != name}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (file(created=None), "Expected when it was created"),
        (file(warnings=None), "Expected a list of warnings"),
        (file(machine=None), "machine in"),
        (file(machine={"chip": "a chip"}), "Expected a value of system"),
        (file(records=None), "Expected a list of records"),
        (file(records=[1]), "a benchmark, a dtype and an implementation in record 0"),
        (file(records=[timed_record(), without("dtype")]), "a benchmark, a dtype and an implementation in record 1"),
        (file(records=[without("median_s")]), "times, or a reason why there are none, in record 0"),
        (file(records=[without("overloaded")]), "times, or a reason why there are none, in record 0"),
        (file(records=[timed_record(p10_s=0.0)]), "times, or a reason why there are none, in record 0"),
        (None, "No file of benchmark results at"),
        ("{", "cannot be read"),
        ("[]", "Expected a JSON object, got list"),
        ("{}", "got kind None, format None"),
        ({"kind": "mlx-tiny bench", "format_version": 2}, "got kind 'mlx-tiny bench', format 2"),
        ({"kind": "mlx-tiny bench", "format_version": 1}, "is malformed"),
        ({"kind": "mlx-tiny bench", "format_version": 1, "records": [{"x": 1}]}, "is malformed"),
    ],
)
def test_what_is_no_such_file_is_explained(tmp_path: Path, content: object, words: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(TinyError) as caught:
        results.read(path)
    assert words in str(caught.value)


def test_names_tell_records_apart() -> None:
    records = [
        timed_record(),
        timed_record(dtype="bfloat16"),
        timed_record(direction="forward and backward"),
        timed_record(implementation="mlx"),
        {"benchmark": "inference", "part": "prompt", "implementation": "mlx_tiny"},
        {"benchmark": "inference", "part": "decode", "implementation": "mlx_tiny"},
    ]
    assert len({results.name_of(record) for record in records}) == len(records)
    assert results.name_of(timed_record()) == results.name_of(timed_record(median_s=7.0, power="battery"))


def test_titles() -> None:
    assert results.title_of(timed_record()) == "attention, forward, micro"
    assert results.title_of({"benchmark": "step", "preset": "mini"}) == "training step, mini"
    found = results.title_of({"benchmark": "inference", "part": "decode", "preset": "mini"})
    assert found == "generation, decode, mini"


def test_a_loaded_machine_is_not_hidden() -> None:
    calm, wide = timed_record(), timed_record(spread=0.834, overloaded=True)
    assert results.warnings([calm]) == []
    (warning,) = results.warnings([calm, wide, wide, reasoned(reason="no GPU")])
    assert "too loaded to measure 2 of 3 records" in warning and "30 %" in warning and "83%" in warning


@pytest.mark.parametrize(("after", "said"), [(1.1e11, False), (2.64e11, True), (0.5e11, True)])
def test_a_peak_that_changes_is_not_hidden(after: float, said: bool) -> None:
    found = results.changed_peaks(PEAKS, replace(PEAKS, matmul_flops_per_s={"float32": after, "bfloat16": 1e11}))
    assert bool(found) is said
    if said:
        assert f"100 GFLOP/s before and {after / 1e9:.0f} GFLOP/s after" in found[0]


def test_a_memory_that_changes_is_not_hidden() -> None:
    (found,) = results.changed_peaks(PEAKS, replace(PEAKS, copy_bytes_per_s=2e10))
    assert "The peak of copies was 10 GB/s before and 20 GB/s after" in found


def test_a_wrong_result_is_not_hidden() -> None:
    (warning,) = results.warnings([reasoned(**WRONG)])
    assert warning.startswith("attention, forward, micro, plain: wrong: output is 9.0 times")


def test_a_share_beyond_its_bound_is_not_hidden() -> None:
    fine, beyond = timed_record(share_of_bound=1.0), timed_record(share_of_bound=1.01)
    assert results.warnings([fine]) == []
    for record in (beyond, timed_record(utilisation=1.5)):
        (warning,) = results.warnings([fine, record])
        assert warning.startswith("1 of 2 records were faster than the peaks allow, the first being attention, forward")


FAILED = {"reason": "failed: out of memory", "failed": True}


@pytest.mark.parametrize("implementation", ["plain", "cpu", "metal", "mlx_tiny", "mlx_tiny, 2 cores"])
@pytest.mark.parametrize(("fault", "words"), [(FAILED, "failed: out of memory"), (WRONG, "output is 9.0 times")])
def test_a_fault_of_our_own_fails_the_check(implementation: str, fault: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckFailed) as caught:
        results.require_right([timed_record(), reasoned(implementation=implementation, **fault)])
    assert f"attention, forward, micro, {implementation}" in str(caught.value)
    assert f"Got {words}" in str(caught.value)
    results.require_right([reasoned(implementation=implementation, reason="no GPU")])


@pytest.mark.parametrize("implementation", ["mlx", "torch", "torch tuned", "reference"])
def test_a_fault_of_others_is_only_said(implementation: str) -> None:
    results.require_right([reasoned(implementation=implementation, **fault) for fault in (WRONG, FAILED)])
