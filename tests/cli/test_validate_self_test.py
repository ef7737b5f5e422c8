"""`mlx-tiny validate --self-test` from the command line."""

from __future__ import annotations

import pytest

from mlx_tiny.linux import lanes as runtime

from .cases import FAILED
from .command_line import call, strict, succeeded


@pytest.mark.torch
def test_the_self_test_names_each_fault_and_what_found_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_tiny.validate import faults, self_test

    prepared = []
    monkeypatch.setattr(runtime, "prepare", lambda: prepared.append(1))
    chosen = faults.FAULTS[:3]
    found = [self_test.Verdict("none", "nothing", "nothing", True, True)]
    found += [self_test.Verdict(fault.name, fault.place, fault.place, True, True) for fault in chosen]
    monkeypatch.setattr(self_test, "verdicts", lambda: iter(found))
    finished = succeeded(call("validate", "--self-test"))
    results = finished.results()
    assert prepared == [1], "a BLAS of its own, and lanes, as in the validation itself"
    assert (results["faults"], results["found"], results["localised"]) == ("3", "3", "3")
    lines = [line for line in finished.out.splitlines()[1:] if line.endswith("  ok")]
    assert [line.split("  ")[0] for line in lines] == ["none", *(fault.name for fault in chosen)]
    values = strict(succeeded(call("validate", "--self-test", "--json")).out)
    assert [v["expected"] for v in values["verdicts"]] == ["nothing", *(fault.place for fault in chosen)]


@pytest.mark.torch
def test_a_self_test_that_misses_a_fault_ends_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlx_tiny.validate import self_test
    from mlx_tiny.validate.self_test import Verdict

    found = [Verdict("none", "nothing", "nothing", True, True), Verdict("a sign", "Muon", "AdamW: loss", True, False)]
    monkeypatch.setattr(self_test, "verdicts", lambda: iter(found))
    finished = call("validate", "--self-test")
    assert finished.code == FAILED and "expected: Muon" in finished.out
    assert (
        "wrong about 1 of 2 versions" in finished.err
        and "'a sign'. Expected Muon, got AdamW: loss. Do not" in finished.err
    )
    finished = call("validate", "--self-test", "--json")
    assert finished.code == FAILED and strict(finished.out)["localised"] == 0
