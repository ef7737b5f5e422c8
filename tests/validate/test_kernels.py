"""`scripts/validate_kernels`: the table of `mlx-tiny validate --kernels`, through the emulator."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal
from tiny_run import subprocess_environment

from mlx_tiny.ops.kernel_text import KernelText, kernel_names, kernel_text
from mlx_tiny.validate import kernels
from mlx_tiny.validate.kernels import cases

ROOT = Path(__file__).parents[2]
DTYPES = {"float32", "float16", "bfloat16"}


def test_every_kernel_is_within_its_bounds() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "validate_kernels.py"), "--json"],
        env=subprocess_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["failed"] == 0
    checks = result["checks"]
    assert {check["kernel"] for check in checks} == set(kernel_names())
    assert all(check["passed"] and check["error"] <= check["allowed"] for check in checks)


def table(kernel: str) -> list[tuple[str, str, str, str]]:
    """Of a kernel's cases (window with its heads, head width, what is special, type)."""
    found = []
    for case in cases():
        if kernel in case.kernels:
            shape, _, special = case.shape.partition(", ")
            _, *window, width = shape.split()
            found.append((" ".join(window), width, special, case.dtype))
    return found


@pytest.mark.parametrize(
    ("kernel", "widths"),
    [
        ("attention_forward", {"K32", "K48", "K64", "K80", "K96", "K128"}),
        ("qk_norm_rope_forward", {"K32", "K48", "K64", "K128", "K256"}),
    ],
)
def test_every_window_meets_every_type_and_every_width_several(kernel: str, widths: set[str]) -> None:
    ordinary = [row for row in table(kernel) if not row[2]]
    windows = {window for window, *_ in ordinary}
    assert {int(window.split()[0][1:]) for window in windows} == {1, 7, 31, 32, 33, 63, 65, 128, 257}
    assert {(window, dtype) for window, _, _, dtype in ordinary} == set(itertools.product(windows, DTYPES))
    assert {(width, dtype) for _, width, _, dtype in ordinary} == set(itertools.product(widths, DTYPES))
    for width in widths:
        assert len({window for window, other, *_ in ordinary if other == width}) >= 4


@pytest.mark.parametrize(
    ("kernel", "special"),
    [
        *(
            ("attention_forward", special)
            for special in ("scores near 1000", "scores of -1024", "equal values", "not contiguous")
        ),
        *(("qk_norm_rope_forward", special) for special in ("equal entries", "not contiguous")),
    ],
)
def test_what_is_special_is_so_in_every_type(kernel: str, special: str) -> None:
    assert {dtype for _, _, other, dtype in table(kernel) if other == special} == DTYPES


@pytest.mark.parametrize("kernel", ["symmetric_product", "muon_pack"])
@pytest.mark.parametrize("special", ["equal entries", "not contiguous"])
def test_so_it_is_with_muon_s_kernels(kernel: str, special: str) -> None:
    shapes = {(case.dtype, case.shape.split(", ")[-1]) for case in cases() if kernel in case.kernels}
    assert {dtype for dtype, other in shapes if other == special} == {"float32", "bfloat16"}


def test_a_bank_of_a_preset_is_among_them() -> None:
    assert {"float32", "bfloat16"} == {case.dtype for case in cases() if case.shape == "N4 R64 C256"}


def test_arrays_called_not_contiguous_are_so_and_hold_the_same_numbers() -> None:
    for shape in ((5,), (2, 3), (2, 3, 4, 5)):
        array = mx.random.normal(shape)
        apart = kernels._apart(array)
        np.testing.assert_array_equal(np.array(apart), np.array(array))
        assert not memoryview(apart).c_contiguous


@pytest.mark.parametrize(
    ("got", "error"),
    [
        ([[1.0, 2.0, 4.0]], math.inf),
        ([[1.0, 2.0, 4.0], [1.0, 2.0, math.nan]], math.inf),
        ([[1.0, 2.0, 4.0], [1.0, 2.0, math.inf]], math.inf),
        ([[1.0, 2.0, 4.0], [1.0, 2.0, 6.0]], 0.5),
        ([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]], 0.0),
    ],
)
def test_the_error_is_infinite_where_the_shape_differs_or_a_number_is_none(got: list, error: float) -> None:
    expected = np.array([[1.0, 2.0, 4.0]] * 2)
    relative, allowed, absolute = kernels._error("symmetric product", "float32", np.array(got), expected, expected)
    assert relative == error and absolute == 4 * error and 0 < allowed < 1e-5


@pytest.mark.parametrize("expected", [0.0, 1e-17])
def test_where_zero_is_expected_the_absolute_bound_holds(expected: float) -> None:
    right = np.full(3, expected)
    relative, allowed, absolute = kernels._error("attention kernel", "float32", np.full(3, 6e-6), right, right)
    assert relative == absolute == pytest.approx(6e-6) and allowed == pytest.approx(5e-6)


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

    case = next(
        case for case in cases() if kernel in case.kernels and case.dtype == "float32" and "T1 " not in case.shape
    )
    monkeypatch.setattr("mlx_tiny.ops.metal.kernel_text", planted)
    with emulated_metal():
        checks = {check.kernel: check for check in case.checks()}
    assert not checks[kernel].passed
    others = {name for name, check in checks.items() if not check.passed} - {kernel}
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

    monkeypatch.setattr("mlx_tiny.ops.metal.kernel_text", refused)
    with emulated_metal():
        checks = next(cases()).checks()
    assert len(checks) == 3
    for check in checks:
        assert not check.passed and math.isinf(check.error)
        assert check.note == note
