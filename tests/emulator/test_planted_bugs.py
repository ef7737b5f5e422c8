"""Every planted bug is found by its gate, on its line, and the kernels without bugs pass all gates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from emulator import KernelFault, emulated_metal
from emulator.lint import lint, lint_launch
from emulator.planted_bugs import BUGS, MISSED
from emulator.planted_bugs.bug import CHECKS, LINT, NUMBERS, OTHER_MAP, TYPES, Bug
from emulator.planted_bugs.kernels import SMALL_KERNELS, SmallKernel
from emulator.planted_bugs.project import planted, run_of
from emulator.type_gate import check_types

README = Path(__file__).with_name("README.md")
# Above the rounding of bfloat16, in which some of the kernels store, and far below what a bug does.
TOLERANCE = 2**-8


def of_gate(*gates: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in BUGS if bug.gate in gates])


def with_launch_of(bug: Bug) -> SmallKernel:
    return dataclasses.replace(SMALL_KERNELS[bug.kernel], **bug.launch)


def error_with(bug: Bug) -> float:
    """Run the kernel with its bug, inside `emulated_metal`."""
    if bug.kernel in SMALL_KERNELS:
        kernel = with_launch_of(bug)
        return kernel.error(bug.plant(kernel.text()))
    with planted(bug):
        return run_of(bug.kernel)()


def named_line(finding: str, source: str) -> str:
    number = int(finding.removeprefix("line ").split(":")[0])
    return source.splitlines()[number - 1]


@pytest.mark.parametrize("kernel", SMALL_KERNELS.values(), ids=SMALL_KERNELS)
@pytest.mark.parametrize(("checking", "lane_map"), [(False, "apple"), (True, "apple"), (True, "other")])
def test_kernels_without_bugs_pass_all_gates(kernel: SmallKernel, checking: bool, lane_map: str) -> None:
    source = kernel.source(kernel.text())
    assert check_types(source) == []
    assert lint(source) == []
    with emulated_metal(checking=checking, lane_map=lane_map) as launches:
        assert kernel.error(kernel.text()) < TOLERANCE
    assert [lint_launch(launch) for launch in launches] == [[]]


@pytest.mark.parametrize("name", ["attention_forward", "qk_norm_rope_backward", "symmetric_product", "muon_pack"])
def test_the_projects_runs_without_bugs_pass(name: str) -> None:
    with emulated_metal(checking=True):
        assert run_of(name)() < TOLERANCE


@of_gate(TYPES)
def test_the_type_gate_finds(bug: Bug) -> None:
    kernel = with_launch_of(bug)
    source = kernel.source(bug.plant(kernel.text()))
    findings = check_types(source)
    assert any(bug.says in finding and bug.line in named_line(finding, source) for finding in findings), findings


@of_gate(LINT)
def test_the_lint_finds(bug: Bug) -> None:
    kernel = with_launch_of(bug)
    if bug.launch:
        assert any(bug.says in finding for finding in lint_launch(kernel.launch(kernel.text())))
        return
    source = kernel.source(bug.plant(kernel.text()))
    findings = lint(source)
    assert any(bug.says in finding and bug.line in named_line(finding, source) for finding in findings), findings


@of_gate(CHECKS)
def test_the_checking_executor_finds(bug: Bug) -> None:
    with emulated_metal(checking=True) as launches, pytest.raises(KernelFault) as caught:
        error_with(bug)
    faults = [fault for fault in caught.value.faults if fault.kind == bug.says]
    assert faults, caught.value
    if bug.line:
        lines = ["", *launches[-1].source.splitlines()]
        assert any(bug.line in lines[fault.line or 0] for fault in faults), caught.value


@of_gate(NUMBERS)
def test_the_numbers_show(bug: Bug) -> None:
    with emulated_metal():
        assert error_with(bug) > 4 * TOLERANCE


@of_gate(OTHER_MAP)
def test_the_other_lane_map_shows(bug: Bug) -> None:
    with emulated_metal(lane_map="apple"):
        assert error_with(bug) < TOLERANCE
    with emulated_metal(lane_map="other"):
        assert error_with(bug) > 4 * TOLERANCE


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in MISSED])
def test_what_no_gate_finds_is_known(bug: Bug) -> None:
    # Should one of these fail, a gate has become better: move the bug to those that are found.
    kernel = with_launch_of(bug)
    source = kernel.source(bug.plant(kernel.text()))
    assert check_types(source) == lint(source) == []
    with emulated_metal(checking=True):
        assert error_with(bug) < TOLERANCE


def rows(bugs: list[Bug]) -> list[str]:
    return [f"| {bug.what} | `{bug.kernel}` | {bug.gate} |" for bug in bugs]


@pytest.mark.parametrize(("heading", "bugs"), [("The planted bugs", BUGS), ("What it cannot tell", MISSED)])
def test_the_readme_lists_every_bug_and_its_gate(heading: str, bugs: list[Bug]) -> None:
    section = README.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    listed = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert [row for row in listed if not row.startswith("| ---")] == rows(bugs)
    assert section.count(str(len(bugs))) >= 1


def test_bugs_are_many_and_differ() -> None:
    assert len(BUGS) >= 25
    everything = [*BUGS, *MISSED]
    assert len({bug.name for bug in everything}) == len({bug.what for bug in everything}) == len(everything)
