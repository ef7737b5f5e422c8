"""`bench kernels`: no time without a right result, and records that say all that they must."""

from __future__ import annotations

import functools
import json
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mlx_tiny.bench import kernels
from mlx_tiny.bench.kernels import judge, measure
from mlx_tiny.bench.operation import BOTH, Named, Operation
from mlx_tiny.bench.operations import of_preset
from mlx_tiny.bench.results import NAMES
from mlx_tiny.errors import TinyError

from .micro import MICRO, PEAKS


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


def mlp(**implementations: Any) -> Operation:
    """The MLP both ways, by other implementations than its own."""
    (operation,) = [o for o in of_preset(MICRO, "float32", ["mlp"]) if o.direction == BOTH]
    plain = operation.implementations["plain"]
    return replace(operation, implementations={"plain": plain, **implementations})


def records(operation: Operation, peaks: Any = PEAKS) -> dict[str, dict[str, Any]]:
    return {r["implementation"]: r for r in measure(operation, peaks, seconds=0, compiled=False)}


def changed(operation: Operation, change: Any, inputs: Named) -> Named:
    return {"output": change(operation.implementations["plain"](inputs)["output"])}  # type: ignore[operator]


def faulty(change: Any) -> Any:
    return functools.partial(changed, mlp(), change)


def test_a_record_says_what_was_measured_and_how_well_it_did() -> None:
    operation = mlp()
    record = records(operation)["plain"]
    assert {name for name in NAMES if record.get(name)} == set(NAMES) - {"part"}
    assert 0 < record["p10_s"] <= record["median_s"] <= record["p90_s"] and record["rounds"] >= 5
    assert record["model_flops_per_s"] == pytest.approx(operation.flops / record["median_s"])
    assert record["executed_flops_per_s"] == pytest.approx(operation.flops / record["median_s"])
    assert record["bytes_per_s"] == pytest.approx(operation.least_bytes / record["median_s"])
    assert record["share_of_bound"] == pytest.approx(record["bound_s"] / record["median_s"])
    assert record["arithmetic_intensity"] == pytest.approx(operation.flops / operation.least_bytes)
    assert 0 <= record["error"] <= 1 and record["peak_memory_bytes"] > 0
    assert record["machine"]["chip"] and not record["compiled"]
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda y: y * 1.01, "output is"),
        (lambda y: y * (1 - 1e-5), "output is"),
        (lambda y: y / 0, "not finite"),
    ],
)
def test_a_wrong_result_has_no_time(change: Any, words: str) -> None:
    found = records(mlp(cpu=faulty(change)))
    wrong = found["cpu"]
    assert wrong["wrong"] and wrong["reason"].startswith("wrong: ") and words in wrong["reason"]
    assert not {key for key in wrong if key.endswith("_s") and key != "bound_s"} & {"median_s", "p10_s", "p90_s"}
    assert "speed_up" not in wrong and "median_s" in found["plain"]
    assert "cpu" not in found["plain"]["speed_up"]


def test_a_wrong_gradient_alone_has_no_time() -> None:
    import mlx.core as mx

    operation = mlp()
    right = operation.implementations["plain"]

    @mx.custom_function
    def same(x: mx.array) -> mx.array:
        return x * 1

    @same.vjp
    def double(primals: Any, cotangent: Any, _: Any) -> Any:
        return 2 * cotangent

    def bent(inputs: Named) -> Named:
        return right({**inputs, "x": same(inputs["x"])})  # type: ignore[operator]

    assert "gradient of x is" in records(replace(operation, implementations={"cpu": bent}))["cpu"]["reason"]


def test_a_fault_in_any_window_but_the_checked_ones_must_at_least_be_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Operation, "checked_windows", [0, 3])
    operation = mlp()
    expected = operation.expected()
    results = {n: np.zeros((4, *a.shape[1:])) if operation.is_batched(n) else a.copy() for n, a in expected.items()}
    for name in expected:
        if operation.is_batched(name):
            results[name][operation.checked_windows] = expected[name]
    assert judge(operation, "plain", results, expected, "float32").fault is None
    assert 2 not in operation.checked_windows
    results["output"][2, 0, 0] = np.nan
    assert "not finite" in str(judge(operation, "plain", results, expected, "float32").fault)
    del results["output"]
    assert "no output" in str(judge(operation, "plain", results, expected, "float32").fault)


def test_products_of_ten_bits_are_judged_as_such() -> None:
    operation = mlp()
    expected = operation.expected()
    off = {name: array * (1 + 2.0**-11) for name, array in expected.items()}
    whole = {n: np.zeros((4, *a.shape[1:])) if operation.is_batched(n) else a for n, a in off.items()}
    for name in off:
        if operation.is_batched(name):
            whole[name][operation.checked_windows] = off[name]
    assert judge(operation, "plain", whole, expected, "float32").fault is not None
    assert judge(operation, "plain", whole, expected, "tf32").fault is None


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_a_device_that_fails_is_a_reason(kind: type[Exception]) -> None:
    def failing(inputs: Named) -> Named:
        raise kind("[metal::Device] Unable to build\nand more")

    found = records(mlp(metal=failing))["metal"]
    assert found["reason"] == "failed: [metal::Device] Unable to build" and "median_s" not in found and found["failed"]
    silent = records(mlp(metal=lambda _: (_ for _ in ()).throw(kind())))["metal"]
    assert silent["reason"] == f"failed: {kind.__name__}"


def test_what_cannot_run_here_says_why() -> None:
    found = records(mlp(metal="no GPU"))
    assert found["metal"]["reason"] == "no GPU"
    assert found["torch eager"]["reason"] == "PyTorch is not installed"


def planted(monkeypatch: pytest.MonkeyPatch, **durations: list[float]) -> dict[str, dict[str, Any]]:
    """Records as they would be with these durations."""
    monkeypatch.setattr(kernels, "interleaved", lambda tasks, **_: {name: durations[name] for name in tasks})
    return records(mlp(mlx=mlp().implementations["plain"]))


def test_a_machine_too_loaded_to_measure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted(monkeypatch, plain=[1.0] * 5, mlx=[1.0, 1.0, 1.0, 2.0, 2.0])
    assert not found["plain"]["overloaded"]
    assert found["mlx"]["overloaded"] and found["mlx"]["spread"] == pytest.approx(1.0)


def test_speed_ups_are_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted(monkeypatch, plain=[2.0, 2.0, 6.0, 6.0, 6.0], mlx=[1.0, 1.0, 3.0, 3.0, 3.0])
    assert found["mlx"]["speed_up"] == {"plain": {"median": 2.0, "p10": 2.0, "p90": 2.0, "overloaded": True}}
    assert found["plain"]["speed_up"] == {"mlx": {"median": 0.5, "p10": 0.5, "p90": 0.5, "overloaded": True}}


def test_an_evaluation_of_several_calls_counts_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    found = planted(monkeypatch, plain=[8.0] * 5, mlx=[4.0] * 5)
    assert found["plain"]["median_s"] == 1.0 and found["mlx"]["speed_up"]["plain"]["median"] == 2.0


def test_a_long_operation_is_not_made_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    monkeypatch.setattr(kernels, "_SHORT_S", 1e-9)
    assert planted(monkeypatch, plain=[8.0] * 5, mlx=[4.0] * 5)["plain"]["median_s"] == 8.0


def test_what_would_take_minutes_is_left_out() -> None:
    slow = replace(PEAKS, matmul_flops_per_s={"float32": 1e3})
    found = records(mlp(), slow)
    assert all("left out: no implementation could take less than" in r["reason"] for r in found.values())


def test_all_operations_of_a_preset_in_order() -> None:
    told: list[str] = []
    groups = list(kernels.run(["micro"], ["float32"], PEAKS, seconds=0, compiled=False, tell=told.append))
    assert [g[0]["operation"] for g in groups][::2] == ["attention", "heads", "cross-entropy", "mlp", "newton-schulz"]
    assert len(told) == len(groups) and told[0] == "attention, forward, micro, float32 (B4 T40 H4 G2 K32)"
    assert all({"plain", "torch eager"} <= {r["implementation"] for r in group} for group in groups)


def test_the_optimizers_are_measured_once() -> None:
    names = ["mlp", "adamw", "newton-schulz"]
    groups = kernels.run(["micro"], ["bfloat16", "float32"], PEAKS, names=names, seconds=0, compiled=False)
    assert [(g[0]["operation"], g[0]["dtype"]) for g in groups] == [
        ("mlp", "bfloat16"),
        ("mlp", "bfloat16"),
        ("adamw", "float32"),
        ("newton-schulz", "float32"),
        ("mlp", "float32"),
        ("mlp", "float32"),
    ]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(TinyError, match=r"Unknown preset 'huge'.*tiny, mini"):
        list(kernels.run(["huge"], ["float32"], PEAKS))
    with pytest.raises(TinyError, match="Unknown operation 'softmax'"):
        list(kernels.run(["micro"], ["float32"], PEAKS, names=["softmax"]))
