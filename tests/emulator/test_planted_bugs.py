"""Every planted bug is found by its gate, on its line, and the kernels without bugs pass all gates."""

from __future__ import annotations

import pytest

from emulator import emulated_metal
from emulator.lint import lint, lint_launch
from emulator.planted_bugs import BUGS, MISSED
from emulator.planted_bugs.bug import CHECKS, Bug
from emulator.planted_bugs.gates import TOLERANCE, error_with, why_missed, with_launch_of
from emulator.planted_bugs.kernels import SMALL_KERNELS, SmallKernel
from emulator.type_gate import check_types

pytestmark = pytest.mark.compile_ahead


def parameter(bug: Bug) -> object:
    return pytest.param(bug, id=bug.name, marks=pytest.mark.compile_ahead(faults=bug.gate == CHECKS))


@pytest.mark.parametrize("kernel", SMALL_KERNELS.values(), ids=SMALL_KERNELS)
@pytest.mark.parametrize(("checking", "lane_map"), [(False, "apple"), (True, "other")])
def test_kernels_without_bugs_pass_all_gates(kernel: SmallKernel, checking: bool, lane_map: str) -> None:
    source = kernel.source(kernel.text())
    assert check_types(source) == []
    assert lint(source) == []
    with emulated_metal(checking=checking, lane_map=lane_map) as launches:
        assert kernel.error(kernel.text()) < TOLERANCE
    assert [lint_launch(launch) for launch in launches] == [[]]


@pytest.mark.parametrize("bug", [parameter(bug) for bug in BUGS])
def test_its_gate_finds(bug: Bug) -> None:
    assert why_missed(bug) is None


@pytest.mark.parametrize("bug", [parameter(bug) for bug in MISSED])
def test_faults_that_no_gate_finds_are_listed(bug: Bug) -> None:
    # Should one of these fail, a gate has become better: move the bug to those that are found.
    kernel = with_launch_of(bug)
    source = kernel.source(bug.plant(kernel.text()))
    assert check_types(source) == lint(source) == []
    with emulated_metal(checking=True):
        assert error_with(bug) < TOLERANCE


def test_names_differ() -> None:
    everything = [*BUGS, *MISSED]
    assert len({bug.name for bug in everything}) == len({bug.what for bug in everything}) == len(everything)
