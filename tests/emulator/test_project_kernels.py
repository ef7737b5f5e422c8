"""The project's kernels with every access watched: no fault, and right numbers, under either lane map."""

from __future__ import annotations

import pytest

from emulator import emulated_metal
from emulator.table import selection
from mlx_tiny.ops.conformance import check
from mlx_tiny.ops.operation import Case, Operation

pytestmark = pytest.mark.compile_ahead

CASES = [(operation, case, ("apple", "other")[number % 2]) for number, (operation, case) in enumerate(selection())]


@pytest.mark.parametrize(
    ("operation", "case", "lane_map"),
    CASES,
    ids=[f"{operation.name}, {operation.title(case)}, {case.dtype}, {lane_map}" for operation, case, lane_map in CASES],
)
def test_no_fault_is_found_and_numbers_are_right(operation: Operation, case: Case, lane_map: str) -> None:
    with emulated_metal(checking=True, lane_map=lane_map) as launches:
        assert [result.name for result in check(operation, "metal", case) if not result.passed] == []
    assert launches
