"""The table of `mlx-tiny validate`, and its other parts that need no PyTorch."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tiny_run import subprocess_environment

from mlx_tiny.errors import TinyError
from mlx_tiny.ops.conformance import Result, to_float64
from mlx_tiny.records import to_json
from mlx_tiny.tolerances import Bounds
from mlx_tiny.validate.table import FAILED, HEADER, LEFT_OUT, OK, Comparison
from mlx_tiny.validate.tensors import normal

BOUNDS = Bounds(1e-3, 1e-2, "for a test")
NOT_NUMBERS = [math.nan, math.inf, -math.inf]


def result(got: object, expected: object, name: str = "r", bounds: Bounds = BOUNDS) -> Result:
    return Result(name, np.array(got, dtype=float), np.array(expected, dtype=float), bounds)


def asked(*results: Result, **changes: Any) -> Comparison:
    values = {"layer": "operations", "operation": "sum", "case": "N3", "dtype": "float32"}
    return Comparison(**{**values, "run": lambda: list(results), **changes})


def test_an_error_is_reported_in_both_measures() -> None:
    found = result([1.0, 2.0, -3.9], [1.0, 2.5, -4.0])
    assert (found.error, found.magnitude, found.allowed) == (0.5, 4.0, 1e-3 + 1e-2 / 4)
    assert not found.passed and replace(found, bounds=Bounds(0.125, 0.0, "")).passed
    assert not replace(found, bounds=Bounds(0.124, 0.0, "")).passed


def test_where_zeros_are_expected_errors_are_absolute() -> None:
    found = result([0.0, 0.009], [0.0, 0.0])
    assert found.magnitude == 1.0 and found.passed
    assert not result([0.0, 0.012], [0.0, 0.0]).passed


@pytest.mark.parametrize("wrong", [*NOT_NUMBERS, 1e30])
def test_nan_fails_and_is_null_in_json(wrong: float) -> None:
    row = asked(result([1.0, wrong], [1.0, 1.0])).row()
    assert row.verdict == FAILED and not row.passed
    values = json.loads(to_json(row))
    assert values["allowed"] == pytest.approx(1.1e-2)
    assert (values["absolute"] is None) == (not math.isfinite(wrong))


@pytest.mark.parametrize(
    ("got", "expected", "passed"),
    [
        ([math.inf, 5.0], [math.inf, 1.0], False),
        ([math.inf, 1.0], [math.inf, 1.0], True),
        ([-math.inf, 1.0], [math.inf, 1.0], False),
        ([math.nan, 5.0], [math.nan, 1.0], False),
        ([math.nan, 1.0], [math.nan, 1.0], True),
        ([math.inf], [math.inf], True),
        ([1e300, 1.0], [math.inf, 1.0], False),
    ],
)
def test_an_infinity_that_is_right_hides_nothing_beside_it(got: list, expected: list, passed: bool) -> None:
    found = result(got, expected)
    assert found.passed == passed == (BOUNDS.excess(got, expected) <= 1) and math.isfinite(found.allowed)
    row = asked(found).row()
    assert (row.verdict == OK) == passed
    to_json(row)


def test_another_shape_fails() -> None:
    row = asked(result([1.0], [1.0, 1.0])).row()
    assert row.verdict == FAILED and math.isinf(row.absolute)


def test_a_row_names_the_result_that_comes_closest_to_its_bound() -> None:
    loose = Bounds(1.0, 0.0, "loose")
    row = asked(
        result(1.5, 1.0, "far but allowed", loose), result(1.0101, 1.0, "close"), result(1.0, 1.0, "equal")
    ).row()
    assert (row.verdict, row.result) == (OK, "close")
    assert row.relative == row.absolute == pytest.approx(0.0101) and row.allowed == pytest.approx(0.011)


def test_a_row_names_the_first_result_that_fails_not_the_worst() -> None:
    row = asked(result(1.0, 1.0, "sound"), result(1.1, 1.0, "first"), result(9.0, 1.0, "follows from it")).row()
    assert (row.verdict, row.result) == (FAILED, "first")


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (RuntimeError("[metal] refused\nmore"), "[metal] refused"),
        (
            RuntimeError("[metal] refused\nnot here\na.metal:3: error: no such name"),
            "[metal] refused: a.metal:3: error: ",
        ),
        (RuntimeError(""), "RuntimeError"),
        (ValueError("shapes"), "shapes"),
        (TinyError("No"), "No."),
        (ZeroDivisionError("float division by zero"), "ZeroDivisionError: float division by zero"),
        (OverflowError("too large"), "OverflowError: too large"),
        (KeyError("head"), "KeyError: 'head'"),
        (IndexError("out of range"), "IndexError: out of range"),
    ],
)
def test_what_does_not_run_fails(error: Exception, note: str) -> None:
    def run() -> list[Result]:
        raise error

    row = asked(run=run).row()
    assert row.verdict == FAILED and math.isinf(row.relative) and "\n" not in row.note
    assert row.note.startswith(note) and row.note[:30] in "\n".join(row.lines()) and row.place == f"sum: {row.note}"


def test_a_row_without_a_comparison_fails() -> None:
    row = asked().row()
    assert (row.verdict, row.note) == (FAILED, "AssertionError: nothing was compared")


def test_a_keyboard_interrupt_is_not_a_result() -> None:
    def run() -> list[Result]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked(run=run).row()


def test_a_row_left_out_has_its_reason() -> None:
    row = asked(run=lambda: pytest.fail("it was asked"), left_out=True, note="there is none").row()
    assert (row.verdict, row.passed) == (LEFT_OUT, True)
    first, second = row.lines()
    assert first.endswith("left out") and second == "    there is none"


def test_lines_stand_below_their_headings_within_80_columns() -> None:
    long = "a sum of many arrays, each of which is summed along every axis, one after the other"
    row = asked(result(1.01, 1.0, "close"), operation=long, note="as theirs, of which much could be said " * 4).row()
    lines = row.lines()
    assert all(len(line) <= 80 for line in [HEADER, *lines]) and len(lines) > 3
    for heading, value in {"dtype": "float32", "relative": "1.0e-02", "allowed": "1.1e-02"}.items():
        assert lines[0][: HEADER.index(heading) + len(heading)].endswith(value), heading
    assert lines[0][HEADER.index("verdict") :] == "ok"
    assert " ".join(long.split()) in " ".join(" ".join([lines[0][:38], *lines[1:]]).split())


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_random_numbers_are_those_of_the_reference(dtype: str) -> None:
    array = normal(np.random.default_rng(0), (3, 4), dtype, scale=2.0)
    assert str(array.dtype) == f"mlx.core.{dtype}"
    exact = to_float64(array)
    assert exact.dtype == np.float64 and mx.array_equal(mx.array(exact.astype(np.float32)).astype(array.dtype), array)
    np.testing.assert_array_equal(to_float64(exact.astype(np.float32)), exact)


def test_the_kernels_table_needs_no_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; import mlx_tiny.validate.kernels, mlx_tiny.validate.table"
    subprocess.run([sys.executable, "-c", program], env=subprocess_environment(), check=True)
