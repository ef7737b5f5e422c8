"""`bench kernels`: no time for a wrong result, and complete records."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.bench import kernels
from mlx_tiny.bench.kernels import checked, measure
from mlx_tiny.bench.record import FAILED, WRONG, Result
from mlx_tiny.bench.runners import MlxRunner
from mlx_tiny.bench.timed import BOTH, Timed, of_preset
from mlx_tiny.ops.conformance import by_name
from mlx_tiny.ops.operation import Implementation
from mlx_tiny.tools.statistics import Spread

from .micro import MICRO, PEAKS


@pytest.fixture(autouse=True)
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


def mlp(**functions: Callable[..., mx.array]) -> Timed:
    """The MLP with gradients, with the plain implementation and other ones."""
    (timed,) = [timed for timed in of_preset(MICRO, "float32", ["mlp"]) if timed.direction == BOTH]
    others = {name: Implementation(function) for name, function in functions.items()}
    implementations = {"plain": timed.operation.implementations["plain"], **others}
    return replace(timed, operation=replace(timed.operation, implementations=implementations))


def transform(*arrays: mx.array, **settings: Any) -> mx.array:
    """The plain MLP."""
    output: mx.array = mlp().operation.implementations["plain"].function(*arrays, **settings)
    return output


def records(timed: Timed, peaks: Any = PEAKS) -> dict[str, Result]:
    return {r.implementation: r for r in measure(timed, peaks, seconds=0, compiled=False)}


def test_a_record_says_what_was_measured_and_how_well_it_did() -> None:
    timed = mlp()
    record = records(timed)["plain"]
    assert record.name == ("kernels", "mlp", BOTH, "micro", timed.operation.title(timed.case), "float32", "plain")
    time_s = record.time_s
    assert time_s and 0 < time_s.p10 <= time_s.median <= time_s.p90 and time_s.count >= 5
    assert (record.flops, record.least_bytes, record.executed_flops) == (timed.flops, timed.least_bytes, timed.flops)
    assert record.share_of_bound == pytest.approx(record.bound_s / time_s.median)
    assert 0 <= record.error <= 1 and record.peak_memory_bytes > 0
    assert record.state is not None and not record.compiled


@mx.custom_function
def same(x: Any) -> Any:
    return x * 1


@same.vjp
def double(primals: Any, cotangent: Any, _: Any) -> Any:
    return 2 * cotangent


FAULTS: dict[str, tuple[Any, str]] = {
    "by a hundredth": (lambda *a, **s: 1.01 * transform(*a, **s), "output is"),
    "in the fifth digit": (lambda *a, **s: (1 - 1e-5) * transform(*a, **s), "output is"),
    "infinite": (lambda *a, **s: transform(*a, **s) / 0, "not finite"),
    "in a gradient": (lambda x, *a, **s: transform(cast(mx.array, same(x)), *a, **s), "gradient of x is"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_wrong_result_has_no_time(kind: str) -> None:
    function, words = FAULTS[kind]
    found = records(mlp(cpu=function))
    wrong = found["cpu"]
    assert wrong.outcome == WRONG and wrong.reason.startswith("wrong: ") and words in wrong.reason
    assert wrong.time_s is None and not wrong.speed_up and found["plain"].time_s is not None
    assert "cpu" not in found["plain"].speed_up


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
    assert (found.reason, found.outcome) == ("failed: [metal::Device] Unable to build", FAILED) and found.time_s is None
    assert records(mlp(metal=failing("")))["metal"].reason == f"failed: {kind.__name__}"


def planted(monkeypatch: pytest.MonkeyPatch, **durations: list[float]) -> dict[str, Result]:
    """Records with these durations."""
    monkeypatch.setattr(kernels, "interleaved", lambda tasks, **_: {name: durations[name] for name in tasks})
    return records(mlp(mlx=transform))


def test_ratios_are_paired_and_an_overloaded_machine_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    found = planted(monkeypatch, plain=[2.0] * 5, mlx=[1.0, 1.0, 1.0, 2.0, 2.0])
    assert not found["plain"].time_s.overloaded
    assert found["mlx"].time_s.overloaded and found["mlx"].time_s.relative == pytest.approx(1.0)
    found = planted(monkeypatch, plain=[2.0, 2.0, 6.0, 6.0, 6.0], mlx=[1.0, 1.0, 3.0, 3.0, 3.0])
    assert found["mlx"].speed_up == {"plain": Spread(2.0, 2.0, 2.0, 5, True)}
    assert found["plain"].speed_up == {"mlx": Spread(0.5, 0.5, 0.5, 5, True)}


@pytest.mark.parametrize(("short_s", "median"), [(0.01, 1.0), (1e-9, 8.0)])
def test_a_short_operation_on_a_gpu_is_computed_several_times_in_one_evaluation(
    monkeypatch: pytest.MonkeyPatch, short_s: float, median: float
) -> None:
    monkeypatch.setattr(kernels, "on_cpu", lambda: False)
    monkeypatch.setattr(kernels, "_SHORT_S", short_s)
    found = planted(monkeypatch, plain=[8.0] * 5, mlx=[4.0] * 5)
    assert found["plain"].time_s.median == median and found["mlx"].speed_up["plain"].median == 2.0


def test_what_would_take_minutes_is_left_out() -> None:
    slow = replace(PEAKS, matmul_flops_per_s={"float32": 1e3})
    found = records(mlp(), slow)
    assert set(found) == {"plain", "torch"}
    assert all("left out: no implementation could take less than" in r.reason for r in found.values())


def test_the_optimizers_are_measured_once() -> None:
    names, told = ["mlp", "adamw", "newton_schulz"], list[str]()
    groups = list(
        kernels.run(["micro"], ["bfloat16", "float32"], PEAKS, names=names, seconds=0, compiled=False, tell=told.append)
    )
    assert [(g[0].operation, g[0].dtype) for g in groups] == [
        ("mlp", "bfloat16"),
        ("mlp", "bfloat16"),
        ("adamw", "float32"),
        ("newton_schulz", "float32"),
        ("mlp", "float32"),
        ("mlp", "float32"),
    ]
    assert len(told) == len(groups) and told[0] == "mlp, forward, micro, bfloat16 (N160 D48 F80 swiglu)"
    assert all({"plain", "torch"} <= {r.implementation for r in group} for group in groups)
