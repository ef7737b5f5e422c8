"""Attention beyond its cases: caches with unused positions, the future, neighbouring heads, large outputs, memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from numeric import ON_GPU, able_to_run, assert_close, normal, rounded, to_float64, with_inputs

from mlx_tiny.linux.attention import BLOCK
from mlx_tiny.ops import conformance, metal
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.conformance import computed, numbers
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.operation import Case, here

WITHOUT_METAL = ["plain", "mlx", *(["cpu", "native"] if here().kind == "cpu" else [])]
each_implementation = pytest.mark.parametrize("implementation", [*WITHOUT_METAL, "metal"])
SIXTEEN = ("float16", "bfloat16")


def case(T: int, H: int, G: int, K: int, dtype: str = "float32", past: int = 0, batch: int = 1) -> Case:
    return Case(model_of(context=T, heads=H, key_value_heads=G, head_width=K), batch, dtype, past=past)


def results(implementation: str, of: Case, inputs: conformance.Named, cotangents: conformance.Named) -> dict:
    """Output and gradients, evaluated."""
    with able_to_run(implementation):
        found = computed(ATTENTION, ATTENTION.by(implementation), of, inputs, cotangents)
        mx.eval(found)
    return found


@pytest.mark.parametrize(("T", "S"), [(1, 2), (1, 9), (2, 9), (7, 71)])
@pytest.mark.parametrize("dtype", ["float32", *SIXTEEN])
@pytest.mark.parametrize("implementation", ["plain", "mlx"])
def test_queries_are_the_last_positions(implementation: str, dtype: str, T: int, S: int) -> None:
    assert conformance.failure(ATTENTION, implementation, case(T, 4, 2, 6, dtype, past=S - T)) is None


@each_implementation
def test_each_key_head_has_its_own_neighbouring_query_heads(implementation: str) -> None:
    with able_to_run(implementation):
        for T, H, G in ((3, 1, 1), (40, 6, 2), (40, 12, 4), (BLOCK + 1, 6, 3)):
            assert conformance.failure(ATTENTION, implementation, case(T, H, G, 32)) is None


@pytest.mark.parametrize(("T", "filled", "S"), [(1, 1, 9), (1, 6, 9), (3, 6, 9), (1, 9, 9), (4, 4, 4)])
@pytest.mark.parametrize("implementation", ["plain", "mlx"])
def test_unfilled_places_of_the_cache_have_no_weight(implementation: str, T: int, filled: int, S: int) -> None:
    generator = np.random.default_rng(S)
    query, key, value = (normal(generator, (2, n, h, 32))[0] for n, h in ((T, 4), (S, 2), (S, 2)))
    empty = mx.full((2, S - filled, 2, 32), 1e6)
    roomy = [mx.concatenate([array[:, :filled], empty], axis=1) for array in (key, value)]
    got = ATTENTION(implementation, query, *roomy, scale=0.2, filled=mx.array(filled))
    expected = ATTENTION("plain", query, key[:, :filled], value[:, :filled], scale=0.2)
    np.testing.assert_allclose(np.array(got), np.array(expected), rtol=2e-6, atol=2e-6)


@each_implementation
def test_the_future_has_no_weight_at_all(implementation: str) -> None:
    T, first = 2 * BLOCK + 3, BLOCK + 7
    whole = case(T, 2, 1, 80)
    inputs, _ = numbers(ATTENTION, whole)
    later = mx.arange(T)[:, None, None] >= first
    changed = {**inputs, "key": mx.where(later, 100.0, inputs["key"]), "value": mx.where(later, -100, inputs["value"])}
    before, after = (to_float64(results(implementation, whole, a, {})["output"]) for a in (inputs, changed))
    np.testing.assert_array_equal(before[:, :first], after[:, :first])
    assert (before[:, first:] != after[:, first:]).any()


@each_implementation
def test_a_neighbouring_sequence_does_not_leak_into_the_tails(implementation: str) -> None:
    """NaN follows the last row of each array in memory; a zero weight would not hide it."""
    two = case(33, 2, 1, 32, batch=2)
    both = numbers(ATTENTION, two)
    poisoned = (
        {name: mx.concatenate([array[:1], mx.full(array[1:].shape, float("nan"))]) for name, array in arrays.items()}
        for arrays in both
    )
    clean, mixed = results(implementation, two, *both), results(implementation, two, *poisoned)
    for name, array in clean.items():
        np.testing.assert_array_equal(np.array(array[0]), np.array(mixed[name][0]))
        assert np.isnan(np.array(mixed[name][1])).all()


@pytest.mark.parametrize("dtype", SIXTEEN)
def test_the_rounding_of_large_outputs_does_not_reach_the_gradients(dtype: str) -> None:
    """delta is a sum over the output; in 16 bits it is rounded by as much as values near 300 differ."""

    def large(arrays: conformance.Named) -> conformance.Named:
        value = rounded(300 + 0.5 * to_float64(arrays["value"]), dtype)[0]
        return {**arrays, "value": value, "cotangent of output": mx.abs(arrays["cotangent of output"])}

    of = Case(model_of(context=40, heads=2, key_value_heads=1, head_width=32), 1, dtype, "other")
    operation = with_inputs(ATTENTION, large)
    with able_to_run("metal"):
        found = conformance.check(operation, "metal", of)
    # By the table's own bounds, and not by those that follow from the plain path's error.
    for result in found[1:]:
        assert_close(result.got, result.expected, "attention gradient", dtype, result.name)


@pytest.mark.skipif(ON_GPU, reason="the emulator tells of launches")
def test_no_matrix_of_scores_is_in_device_memory() -> None:
    """Every buffer of every launch is an input or result of the operation, or has a few times B H T numbers."""
    B, T, H, G, K = 2, 257, 2, 1, 32
    of = case(T, H, G, K, "float16", batch=B)
    with able_to_run("metal") as launches:
        mx.eval(computed(ATTENTION, ATTENTION.by("metal"), of, *numbers(ATTENTION, of)))
    buffers = {
        name: (tuple(shape), dtype)
        for launch in launches
        for name, shape, dtype in (*launch.inputs, *launch.outputs)
        if tuple(shape) not in {(B, T, H, K), (B, T, G, K), (1,)}
    }
    assert buffers == {"log_sum_exp": ((B, H, T, 2), mx.float32), "delta": ((B, H, T), mx.float32)}
    written = [[name for name, _, _ in launch.outputs] for launch in launches]
    assert written == [["output", "log_sum_exp"], ["query_gradient", "delta"], ["key_gradient", "value_gradient"]]


def test_a_compiled_step_builds_the_same_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator does not run inside `mx.compile`; the results of launches are made up, the graph is real."""
    names = []

    def stand_in(name: str, **_: Any) -> Callable[..., list[mx.array]]:
        def launch(inputs, output_shapes, output_dtypes, **_: Any) -> list[mx.array]:
            names.append(name)
            total = sum(array.astype(mx.float32).sum() for array in inputs)
            made_up = [mx.full(shape, total * 1e-3) for shape in output_shapes]
            return [array.astype(dtype) for array, dtype in zip(made_up, output_dtypes, strict=True)]

        return launch

    monkeypatch.setattr(mx.fast, "metal_kernel", stand_in)
    monkeypatch.setattr(metal, "why_not_metal", lambda: None)
    inputs, _ = numbers(ATTENTION, case(5, 2, 1, 32))
    step = mx.value_and_grad(lambda *a: ATTENTION("metal", *a, scale=0.3).square().sum(), argnums=(0, 1, 2))
    for compiled, eager in zip(mx.compile(step)(*inputs.values())[1], step(*inputs.values())[1], strict=True):
        assert_close(compiled, eager, "attention gradient", "float32")
    assert names == 2 * ["attention_forward", "attention_backward_query", "attention_backward_key_value"]
