"""Layer 1: the order of its rows, and that they find errors; `test_the_default_passes` has the rows themselves."""

from __future__ import annotations

import dataclasses
from typing import Any

import mlx.core as mx
import pytest

from mlx_tiny.ops.norm import NORM
from mlx_tiny.validate import operations
from mlx_tiny.validate.table import FAILED

pytestmark = pytest.mark.torch


def test_parts_come_before_what_they_are_part_of() -> None:
    order = [question.operation for question in operations.comparisons(("float32",))]
    assert order.index("rotary, plain") < order.index("qk_norm_rope, plain")
    assert order.index("newton_schulz, plain") < order.index("muon, plain") < order.index("embedding")


@pytest.mark.parametrize("wrong", [lambda x: 1.0001 * x, lambda x: -x, mx.zeros_like, lambda x: x * mx.nan])
def test_a_wrong_output_and_a_wrong_gradient_fail(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = NORM.implementations["mlx"]

    def first_row(function):
        monkeypatch.setitem(NORM.implementations, "mlx", dataclasses.replace(genuine, function=function))
        return next(q for q in operations.comparisons(("float32",)) if q.operation == "norm, mlx").row()

    row = first_row(lambda x, *, epsilon: wrong(genuine.function(x, epsilon=epsilon)))
    assert row.verdict == FAILED and row.result.startswith("output, ")

    def backwards(x: mx.array, *, epsilon: float) -> Any:
        def sound(x: mx.array) -> mx.array:
            return genuine.function(x, epsilon=epsilon)

        function = mx.custom_function(sound)
        function.vjp(lambda x, cotangent, _: wrong(mx.vjp(lambda y: [sound(y)], [x], [cotangent])[1][0]))
        return function(x)

    row = first_row(backwards)
    assert row.verdict == FAILED and row.result.startswith("gradient of x, ")
