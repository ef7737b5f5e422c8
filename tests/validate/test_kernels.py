"""The table of `mlx-tiny validate --kernels` in the emulator: its cases, and that it finds errors."""

from __future__ import annotations

import json
import math
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from click.testing import CliRunner
from emulator import emulated_metal

from mlx_tiny.ops import conformance
from mlx_tiny.ops.inputs import not_contiguous
from mlx_tiny.ops.metal import KernelText, kernel_names, kernel_text
from mlx_tiny.ops.operation import Case, Operation
from mlx_tiny.ops.registry import everything
from mlx_tiny.validate import kernels

ROOT = Path(__file__).parents[2]


def test_every_kernel_is_within_its_bounds() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "validate_kernels.py"))["main"]
    done = CliRunner().invoke(script, ["--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["failed"] == 0
    counts = Counter(row["operation"] for row in result["rows"])
    assert set(kernel_names()) <= set(counts) and len(result["rows"]) >= 206
    assert all(row["verdict"] == "ok" and row["relative"] <= row["allowed"] for row in result["rows"])


def cases_of(kernel: str) -> tuple[Operation, list[Case]]:
    """The smallest operation that uses a kernel, and its cases."""
    with emulated_metal():
        for operation in everything():
            if kernel in operation.proof.kernels.values():
                return operation, list(conformance.cases(operation, "metal"))
    raise AssertionError(kernel)


@pytest.mark.parametrize("kernel", ["attention_forward", "qk_norm_rope_forward"])
def test_every_sequence_meets_every_type_and_every_width_several(kernel: str) -> None:
    _, cases = cases_of(kernel)
    ordinary = [(c.model.context, c.model.head_width, c.dtype) for c in cases if not c.special]
    for dtype in ("float32", "float16", "bfloat16"):
        assert {T for T, _, other in ordinary if other == dtype} >= {1, 7, 31, 32, 33, 63, 65, 128, 257}
    widths = {K for _, K, _ in ordinary}
    assert all(len({T for T, other, _ in ordinary if other == K}) >= 4 for K in widths)
    assert {c.model.heads // c.model.key_value_heads for c in cases} >= {1, 2, 4} and {c.batch for c in cases} == {2, 3}


def test_arrays_called_not_contiguous_are_so_and_hold_the_same_numbers() -> None:
    for shape in ((5,), (2, 3), (2, 3, 4, 5)):
        array = mx.random.normal(shape)
        apart: Any = not_contiguous(array)
        np.testing.assert_array_equal(np.array(apart), np.array(array))
        assert not memoryview(apart).c_contiguous


@pytest.mark.parametrize(
    ("kernel", "right", "wrong"),
    [
        ("attention_forward", "1.0f / sum", "1.001f / sum"),
        ("attention_backward_query", "- row_delta", "+ row_delta"),
        ("qk_norm_rope_forward", "* inverse", "* -inverse"),
        ("muon_pack", "kept * momentum[place]", "momentum[place]"),
        ("symmetric_product", "factors[0] * tiles", "factors[1] * tiles"),
    ],
)
def test_a_wrong_kernel_is_found_and_named(
    kernel: str, right: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def planted(name: str) -> KernelText:
        text = kernel_text(name)
        if name != kernel:
            return text
        assert right in text.body
        return KernelText(name, text.header, text.body.replace(right, wrong))

    operation, cases = cases_of(kernel)
    case = next(case for case in cases if case.dtype == "float32" and case.model.context > 1)
    monkeypatch.setattr("mlx_tiny.ops.metal.kernel_text", planted)
    with emulated_metal():
        rows = {row.operation: row for row in kernels.case_rows(operation, case)}
    assert not rows[kernel].passed
    others = {name for name, row in rows.items() if not row.passed} - {kernel}
    # The backward pass of a wrong forward pass is wrong too; nothing else is.
    assert not others or kernel.endswith("_forward") or kernel == "attention_backward_query"


@pytest.mark.parametrize(
    ("message", "note"),
    [
        (
            "[metal::Device] Unable to build metal library\nprogram_source:7:1: warning: unused\n"
            "program_source:9:3: error: no matching function\n  simd_sum(x);",
            "[metal::Device] Unable to build metal library: program_source:9:3: error: no matching function",
        ),
        ("", "RuntimeError"),
    ],
)
def test_a_device_that_fails_fails_every_kernel_of_the_case(
    message: str, note: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(name: str) -> KernelText:
        raise RuntimeError(message)

    operation, cases = cases_of("attention_forward")
    monkeypatch.setattr("mlx_tiny.ops.metal.kernel_text", refused)
    with emulated_metal():
        rows = list(kernels.case_rows(operation, cases[0]))
    assert [row.operation for row in rows] == list(dict.fromkeys(operation.proof.kernels.values()))
    assert all(not row.passed and math.isinf(row.relative) and row.note == note for row in rows)
