"""What the checks find, on which line, and what they must let pass."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.ops.metal import kernel_folder

from . import KernelFault, Kind
from .checker_cases import CLEAN, FAULTY, Case
from .single_kernel import run_kernel

pytestmark = pytest.mark.compile_ahead


def run(case: Case) -> mx.array:
    a = mx.array(np.random.default_rng(0).standard_normal(64).astype(np.float32))
    return run_kernel(case.body, a, mx.array([1.0, 2.0]), threads=case.threads, threadgroups=(2, 1, 1), checking=True)


def case_of(name: str) -> Case:
    return next(case for case in (*CLEAN, *FAULTY) if case.name == name)


@pytest.mark.parametrize("case", CLEAN, ids=lambda case: case.name)
def test_what_is_allowed_passes(case: Case) -> None:
    mx.eval(run(case))


@pytest.mark.compile_ahead(faults=True)
@pytest.mark.parametrize("case", FAULTY, ids=lambda case: case.name)
def test_what_is_wrong_is_found_on_its_line(case: Case) -> None:
    with pytest.raises(KernelFault) as caught:
        run(case)
    messages = [fault.message for fault in caught.value.faults if fault.kind in case.kinds]
    assert messages, caught.value
    # A fault between two lines names both.
    assert case.line is None or any(f"line {case.line}" in message for message in messages), caught.value


def test_every_kind_of_fault_is_among_the_cases_or_met_without_checks() -> None:
    """The rest is what a plain build meets, in `test_executor.py`."""
    among = {kind for case in FAULTY for kind in case.kinds}
    assert set(Kind) - among == {Kind.READ_ONLY, Kind.BAD_ADDRESS, Kind.STACK_OVERFLOW, Kind.TOO_LONG}


def test_a_fault_names_kernel_line_and_cause() -> None:
    with pytest.raises(KernelFault) as caught:
        run(case_of("a barrier for the other memory"))
    assert str(caught.value) == (
        "kernel sample:\n"
        "  body of sample, line 5: race: thread 63 reads threadgroup memory, byte 0, which thread 0 writes in "
        "body of sample, line 3 without a barrier that orders this memory between them (threadgroup 0)"
    )


def test_several_faults_and_the_lines_of_a_header() -> None:
    header = "inline void put(device float* p, uint i) {\n  p[i] = 1.0f;\n}\n"
    body = "threadgroup float x[32]; o[thread_position_in_grid.x] = x[0];\nput(o, 32);"
    with pytest.raises(KernelFault, match=r"header of sample, line 2: access outside of o") as caught:
        run_kernel(body, header=header, checking=True)
    assert [fault.kind for fault in caught.value.faults] == [Kind.UNINITIALISED, Kind.OUT_OF_BOUNDS]


def test_findings_in_project_kernels_name_the_file() -> None:
    text = (kernel_folder() / "simdgroup.h").read_text()
    line = 1 + text.count("\n", 0, text.index("simd_shuffle_xor"))
    with pytest.raises(KernelFault, match=rf"kernels/simdgroup\.h:{line}: .* returning"):
        run_kernel(
            "if (thread_position_in_grid.x < 3) return; o[0] = row_sum(1.0f);",
            header="// A line in front of it.\n" + text,
        )


def test_a_launch_after_a_fault_is_a_new_one() -> None:
    for _ in range(3):
        with pytest.raises(KernelFault):
            run(case_of("no barrier"))
        mx.eval(run(case_of("a barrier")))
