"""Layer 1: every implementation is asked, in every type, and the table's bounds hold."""

from __future__ import annotations

import mlx.core as mx
import pytest
from emulator import emulated_metal

from mlx_tiny.config import ModelConfig
from mlx_tiny.ops import activation, attention, metal, norm
from mlx_tiny.ops import qk_norm_rope as heads
from mlx_tiny.validate import operations
from mlx_tiny.validate.table import FAILED, Comparison

pytestmark = pytest.mark.torch
PARTS = {"RMSNorm, mlx", "rotary positions", "embedding", "activation, plain", "MLP, relu2", "MLP, swiglu"}
PARTS |= {"QK-norm and rotary, plain", "attention, plain", "attention, mlx", "cross-entropy, plain"}
ON_CPU = {f"{name}, cpu" for name in ("RMSNorm", "activation", "QK-norm and rotary", "attention", "cross-entropy")}


@pytest.mark.parametrize("dtype", operations.DTYPES)
def test_every_operation_holds_its_bounds(dtype: str) -> None:
    rows = [question.row() for question in operations.comparisons((dtype,))]
    assert [row.line() for row in rows if not row.passed] == []
    expected = PARTS | (ON_CPU if dtype == "float32" else set())
    if metal.why_not_metal() is None:
        expected |= {"attention, metal", "QK-norm and rotary, metal"}
    assert {row.operation for row in rows} == expected and len(rows) == len(expected)
    assert all(0 < row.relative < row.allowed < 0.05 and row.dtype == dtype for row in rows)


def test_results_are_named_in_the_order_of_computation() -> None:
    question = next(q for q in operations.comparisons(("float32",)) if q.operation == "attention, plain")
    names = [result.name for result in question.run()]
    assert names[:5] == [
        "output, T 1",
        *(f"gradient of {name}, T 1" for name in ("query", "key", "value")),
        "output, T 7",
    ]
    assert names[-4] == "output, T 3 of 9" and len(names) == 4 * len(operations.WINDOWS)


def with_metal(dtype: str) -> list[Comparison]:
    return [question for question in operations.comparisons((dtype,)) if question.operation.endswith("metal")]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_where_metal_runs_its_kernels_are_asked_too(dtype: str) -> None:
    with emulated_metal():
        rows = [question.row() for question in with_metal(dtype)]
    assert [row.operation for row in rows] == ["QK-norm and rotary, metal", "attention, metal"]
    assert [row.line() for row in rows if not row.passed] == []


def test_every_implementation_is_asked_by_its_name() -> None:
    """What is added to an operation's implementations is to be asked here too."""
    asked: dict[str, set[str]] = {}
    for question in operations.comparisons(("float32",)):
        part, _, name = question.operation.partition(", ")
        asked.setdefault(part, set()).add(name)
    for part, module in (
        ("RMSNorm", norm),
        ("activation", activation),
        ("QK-norm and rotary", heads),
        ("attention", attention),
    ):
        here = {*module.IMPLEMENTATIONS} - {"auto", *(() if metal.why_not_metal() is None else ("metal",))}
        assert asked[part] == here, part


def test_constants_and_sizes_are_such_that_ignoring_them_shows() -> None:
    model, default = operations._MODEL, ModelConfig()
    assert model.rope_base != default.rope_base and model.norm_epsilon != default.norm_epsilon
    assert min(operations._SIZES) ** 2 < model.norm_epsilon


@pytest.mark.parametrize("wrong", [lambda x: 1.0001 * x, lambda x: -x, mx.zeros_like, lambda x: x * mx.nan])
def test_a_wrong_output_and_a_wrong_gradient_fail(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = norm.rms_norm
    monkeypatch.setattr(norm, "rms_norm", lambda x, epsilon, **how: wrong(genuine(x, epsilon, **how)))
    row = next(operations.comparisons(("float32",))).row()
    assert (row.operation, row.verdict, row.result) == ("RMSNorm, mlx", FAILED, "output at size 1")

    def sound(x: mx.array) -> mx.array:
        return genuine(x, operations._MODEL.norm_epsilon)

    backwards = mx.custom_function(sound)
    backwards.vjp(lambda x, cotangent, _: wrong(mx.vjp(lambda y: [sound(y)], [x], [cotangent])[1][0]))
    monkeypatch.setattr(norm, "rms_norm", lambda x, *_, **__: backwards(x))
    row = next(operations.comparisons(("float32",))).row()
    assert (row.operation, row.verdict, row.result) == ("RMSNorm, mlx", FAILED, "gradient of x of size 1")
