"""Layer 6: planted faults are found in the right place."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest

from mlx_tiny.model import forward as model
from mlx_tiny.ops import conformance
from mlx_tiny.ops.operation import Case, Operation
from mlx_tiny.validate import faults, operations, self_test
from mlx_tiny.validate.faults import FAULTS, Fault

from .small import train_on_little

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    train_on_little(monkeypatch)


def test_sound_code_passes_and_a_single_fault_is_reported() -> None:
    sound, verdict = self_test.verdicts(FAULTS[:1])
    assert (sound.fault, sound.blamed, sound.found, sound.localised) == ("none", "nothing", True, True)
    assert verdict.fault == FAULTS[0].name and verdict.found and verdict.localised


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_found_and_blamed_on_the_right_part(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other operations than the fault's own, one case must pass; behind the operations, those are left out."""
    if fault.operation not in {row.operation for row in operations.comparisons(("float32",))}:
        monkeypatch.setattr(operations, "comparisons", lambda *_: iter(()))
    genuine = conformance.cases

    def cases(operation: Operation, implementation: str) -> Iterator[Case]:
        some = (case for case in genuine(operation, implementation) if case.dtype == "float32")
        yield from itertools.islice(some, None if fault.operation.startswith(f"{operation.name}, ") else 1)

    monkeypatch.setattr(conformance, "cases", cases)
    verdict = self_test.verdict_on(fault)
    assert verdict.found and verdict.localised, verdict


def test_there_are_enough_faults_for_every_layer() -> None:
    assert len(FAULTS) >= 12 and len({fault.name for fault in FAULTS}) == len(FAULTS)
    parts = Counter(fault.operation.split(",")[0] for fault in FAULTS)
    assert {"attention", "layers in lockstep", "training step", "Muon", "AdamW", "bits per byte"} <= set(parts)


def test_a_harmless_change_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row for row in operations.comparisons(("float32",)) if row.operation.startswith("mlp")]
    monkeypatch.setattr(self_test, "comparisons", lambda: iter(rows))
    verdict = self_test.verdict_on(Fault("none at all", ((model, "mlp"),), lambda genuine: genuine, "mlp, relu2"))
    assert (verdict.found, verdict.localised, verdict.blamed) == (False, False, "nothing")


def test_a_fault_that_is_blamed_on_another_part_is_found_but_not_localised() -> None:
    verdict = self_test.verdict_on(Fault("misplaced", FAULTS[0].places, FAULTS[0].make, "AdamW"))
    assert (verdict.found, verdict.localised) == (True, False) and verdict.blamed.startswith("norm, mlx: ")
    other = Fault(
        "of another result",
        FAULTS[0].places,
        FAULTS[0].make,
        FAULTS[0].operation,
        "output, N14 D48, rows of size 0.001",
    )
    verdict = self_test.verdict_on(other)
    assert (verdict.found, verdict.localised) == (True, False)


def test_a_fault_in_the_code_itself_is_reported_first() -> None:
    with FAULTS[0].planted():
        sound = next(self_test.verdicts(()))
    assert not sound.found and not sound.localised and sound.blamed.startswith("norm")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_removed_again(fault: Fault) -> None:
    genuine = [faults._get(owner, name) for owner, name in fault.places]
    with pytest.raises(KeyError), fault.planted():
        assert all(faults._get(owner, name) is not g for (owner, name), g in zip(fault.places, genuine, strict=True))
        raise KeyError
    assert [faults._get(owner, name) for owner, name in fault.places] == genuine
