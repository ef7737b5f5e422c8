"""Whether a gate finds a planted bug, on the line that it is on."""

from __future__ import annotations

import dataclasses

from emulator import KernelFault, emulated_metal
from emulator.lint import lint, lint_launch
from emulator.planted_bugs.bug import CHECKS, LINT, NUMBERS, OTHER_MAP, TABLE, TYPES, Bug
from emulator.planted_bugs.kernels import SMALL_KERNELS, SmallKernel
from emulator.planted_bugs.project import planted, wrong_results
from emulator.type_gate import check_types

# Above the rounding of bfloat16, in which some of the kernels store, and far below what a bug does.
TOLERANCE = 2**-8


def why_missed(bug: Bug) -> str | None:
    """What the bug's gate said instead of finding it, or None where it is found."""
    return {
        TYPES: _missed_in_text,
        LINT: _missed_in_text,
        CHECKS: _missed_by_checks,
        NUMBERS: _missed_in_numbers,
        TABLE: _missed_in_table,
        OTHER_MAP: _missed_in_numbers,
    }[bug.gate](bug)


def with_launch_of(bug: Bug) -> SmallKernel:
    """The small kernel of the bug, launched as the bug has it."""
    return dataclasses.replace(SMALL_KERNELS[bug.kernel], **bug.launch)


def error_with(bug: Bug) -> float:
    """Run the small kernel with its bug, inside `emulated_metal`."""
    kernel = with_launch_of(bug)
    return kernel.error(bug.plant(kernel.text()))


def _missed_in_text(bug: Bug) -> str | None:
    kernel = with_launch_of(bug)
    launch = kernel.launch(bug.plant(kernel.text()))
    if bug.gate == TYPES:
        findings = check_types(launch.source)
    else:
        findings = lint_launch(launch) if bug.launch else lint(launch.source)
    found = [finding for finding in findings if str(bug.says) in finding]
    if found and (bug.launch or any(bug.line in _named_line(finding, launch.source) for finding in found)):
        return None
    return f"findings: {findings}"


def _named_line(finding: str, source: str) -> str:
    number = int(finding.removeprefix("line ").split(":")[0])
    return source.splitlines()[number - 1]


def _missed_by_checks(bug: Bug) -> str | None:
    with emulated_metal(checking=True) as launches:
        try:
            if bug.kernel in SMALL_KERNELS:
                error_with(bug)
            else:
                _wrong_results(bug)
        except KernelFault as fault:
            faults = [one for one in fault.faults if one.kind == bug.says]
            lines = ["", *launches[-1].source.splitlines()]
            if any(bug.line in lines[one.line or 0] for one in faults):
                return None
            return str(fault)
    return "no fault"


def _missed_in_numbers(bug: Bug) -> str | None:
    if bug.gate == OTHER_MAP:
        with emulated_metal():
            if (error := error_with(bug)) >= TOLERANCE:
                return f"it shows under Apple's lane map, too: {error}"
    with emulated_metal(lane_map="other" if bug.gate == OTHER_MAP else "apple"):
        error = error_with(bug)
    return None if error > 4 * TOLERANCE else f"the numbers are off by {error} only"


def _missed_in_table(bug: Bug) -> str | None:
    # Numbers alone, as a Mac gives them.
    with emulated_metal(guarded=False):
        try:
            return None if _wrong_results(bug) else "every result is within its bounds"
        except KernelFault as fault:
            return f"no numbers, for {fault}"


def _wrong_results(bug: Bug) -> list[str]:
    with planted(bug):
        return wrong_results(bug.kernel, bug.case, bug.dtype)
