"""`bench kernels`: no time without a right result, and records that say all that they must."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.bench import kernels
from mlx_tiny.bench.kernels import checked, measure
from mlx_tiny.bench.results import NAMES
from mlx_tiny.bench.runners import MlxRunner
from mlx_tiny.bench.timed import BOTH, Timed, of_preset
from mlx_tiny.ops.conformance import by_name
from mlx_tiny.ops.operation import Implementation

from .micro import MICRO, PEAKS


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


def mlp(**functions: Callable[..., mx.array]) -> Timed:
    """The MLP both ways, with other implementations than its own beside the plain one."""
    (timed,) = [timed for timed in of_preset(MICRO, "float32", ["mlp"]) if timed.direction == BOTH]
    others = {name: Implementation(function) for name, function in functions.items()}
    implementations = {"plain": timed.operation.implementations["plain"], **others}
    return replace(timed, operation=replace(timed.operation, implementations=implementations))


def transform(*arrays: mx.array, **settings: Any) -> mx.array:
    """The plain MLP."""
    output: mx.array = mlp().operation.implementations["plain"].function(*arrays, **settings)
    return output


def records(timed: Timed, peaks: Any = PEAKS) -> dict[str, dict[str, Any]]:
    return {r["implementation"]: r for r in measure(timed, peaks, seconds=0, compiled=False)}


def test_a_record_says_what_was_measured_and_how_well_it_did() -> None:
    timed = mlp()
    record = records(timed)["plain"]
    assert {name for name in NAMES if record.get(name)} == set(NAMES) - {"part"}
    assert 0 < record["p10_s"] <= record["median_s"] <= record["p90_s"] and record["rounds"] >= 5
    assert record["model_flops_per_s"] == pytest.approx(timed.flops / record["median_s"])
    assert record["executed_flops_per_s"] == pytest.approx(timed.flops / record["median_s"])
    assert record["bytes_per_s"] == pytest.approx(timed.least_bytes / record["median_s"])
    assert record["share_of_bound"] == pytest.approx(record["bound_s"] / record["median_s"])
    assert record["arithmetic_intensity"] == pytest.approx(timed.flops / timed.least_bytes)
    assert 0 <= record["error"] <= 1 and record["peak_memory_bytes"] > 0
    assert record["machine"]["chip"] and not record["compiled"]
    assert json.loads(json.dumps(record)) == record


@mx.custom_function
def same(x: Any) -> Any:
    return x * 1


@same.vjp
def double(primals: Any, cotangent: Any, _: Any) -> Any:
    return 2 * cotangent


WRONG: dict[str, tuple[Any, str]] = {
    "by a hundredth": (lambda *a, **s: 1.01 * transform(*a, **s), "output is"),
    "in the fifth digit": (lambda *a, **s: (1 - 1e-5) * transform(*a, **s), "output is"),
    "infinite": (lambda *a, **s: transform(*a, **s) / 0, "not finite"),
    "in a gradient": (lambda x, *a, **s: transform(cast(mx.array, same(x)), *a, **s), "gradient of x is"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_result_has_no_time(kind: str) -> None:
    function, words = WRONG[kind]
    found = records(mlp(cpu=function))
    wrong = found["cpu"]
    assert wrong["wrong"] and wrong["reason"].startswith("wrong: ") and words in wrong["reason"]
    assert not {"median_s", "p10_s", "p90_s", "speed_up"} & set(wrong) and "median_s" in found["plain"]
    assert "cpu" not in found["plain"]["speed_up"]


def test_a_fault_in_any_sequence_but_the_checked_ones_must_at_least_be_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timed, "checked_sequences", [0, 3])
    timed, expected = mlp(), mlp().expected()
    results = MlxRunner(timed, by_name(timed.operation, transform, timed.case), compiled=False).results()
    results["output"][1] += 1
    assert checked(timed, "plain", results, expected, "float32").fault is None
    # Products of ten bits have bounds of their own.
    off = {name: array * (1 + 2.0**-11) for name, array in results.items()}
    assert checked(timed, "plain", off, expected, "float32").fault is not None
    assert checked(timed, "plain", off, expected, "tf32").fault is None
    results["output"][2, 0, 0] = np.nan
    assert "not finite" in str(checked(timed, "plain", results, expected, "float32").fault)
    del results["output"]
    assert "no output" in str(checked(timed, "plain", results, expected, "float32").fault)


def test_there_are_bounds_for_everything_that_may_be_timed() -> None:
    for dtype, products in (("float32", "float32"), ("float32", "tf32"), ("bfloat16", "float32")):
        for timed in of_preset(MICRO, dtype):
            for name in (*timed.operation.implementations, *timed.operation.proof.rivals):
                assert all(kernels._allowed(timed, name, result, products) for result in timed.expected())


@pytest.mark.parametrize("kind", [RuntimeError, ValueError])
def test_a_device_that_fails_is_a_reason(kind: type[Exception]) -> None:
    def failing(words: str) -> Callable[..., mx.array]:
        def fail(*arrays: mx.array, **settings: Any) -> mx.array:
            raise kind(words)

        return fail

    found = records(mlp(metal=failing("[metal::Device] Unable to build\nand more")))["metal"]
    assert found["reason"] == "failed: [metal::Device] Unable to build" and "median_s" not in found and found["failed"]
    assert records(mlp(metal=failing("")))["metal"]["reason"] == f"failed: {kind.__name__}"


def planted(monkeypatch: pytest.MonkeyPatch, **durations: list[float]) -> dict[str, dict[str, Any]]:
    """Records as they would be with these durations."""
    monkeypatch.setattr(kernels, "interleaved", lambda tasks, **_: {name: durations[name] for name in tasks})
    return records(mlp(mlx=transform))


def test_ratios_are_paired_and_a_machine_too_loaded_to_measure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted(monkeypatch, plain=[2.0] * 5, mlx=[1.0, 1.0, 1.0, 2.0, 2.0])
    assert not found["plain"]["overloaded"]
    assert found["mlx"]["overloaded"] and found["mlx"]["spread"] == pytest.approx(1.0)
    found = planted(monkeypatch, plain=[2.0, 2.0, 6.0, 6.0, 6.0], mlx=[1.0, 1.0, 3.0, 3.0, 3.0])
    assert found["mlx"]["speed_up"] == {"plain": {"median": 2.0, "p10": 2.0, "p90": 2.0, "overloaded": True}}
    assert found["plain"]["speed_up"] == {"mlx": {"median": 0.5, "p10": 0.5, "p90": 0.5, "overloaded": True}}


@pytest.mark.parametrize(("short_s", "median"), [(0.01, 1.0), (1e-9, 8.0)])
def test_a_short_operation_on_a_gpu_is_computed_several_times_in_one_evaluation(
    monkeypatch: pytest.MonkeyPatch, short_s: float, median: float
) -> None:
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    monkeypatch.setattr(kernels, "_SHORT_S", short_s)
    found = planted(monkeypatch, plain=[8.0] * 5, mlx=[4.0] * 5)
    assert found["plain"]["median_s"] == median and found["mlx"]["speed_up"]["plain"]["median"] == 2.0


def test_what_would_take_minutes_is_left_out() -> None:
    slow = replace(PEAKS, matmul_flops_per_s={"float32": 1e3})
    found = records(mlp(), slow)
    assert set(found) == {"plain", "torch"}
    assert all("left out: no implementation could take less than" in r["reason"] for r in found.values())


def test_the_optimizers_are_measured_once() -> None:
    names, told = ["mlp", "adamw", "newton_schulz"], list[str]()
    groups = list(
        kernels.run(["micro"], ["bfloat16", "float32"], PEAKS, names=names, seconds=0, compiled=False, tell=told.append)
    )
    assert [(g[0]["operation"], g[0]["dtype"]) for g in groups] == [
        ("mlp", "bfloat16"),
        ("mlp", "bfloat16"),
        ("adamw", "float32"),
        ("newton_schulz", "float32"),
        ("mlp", "float32"),
        ("mlp", "float32"),
    ]
    assert len(told) == len(groups) and told[0] == "mlp, forward, micro, bfloat16 (N160 D48 F80 swiglu)"
    assert all({"plain", "torch"} <= {r["implementation"] for r in group} for group in groups)
