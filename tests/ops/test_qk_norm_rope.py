"""QK-norm with rotary positions beyond its cases: widths, magnitudes, zeros, tables, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from numeric import ON_GPU, able_to_run, to_float64, with_inputs

from mlx_tiny.ops import conformance
from mlx_tiny.ops.conformance import computed, numbers
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.operation import Case, Named, here
from mlx_tiny.ops.qk_norm_rope import QK_NORM_ROPE, metal
from mlx_tiny.ops.qk_norm_rope.plain import rotary_tables, rotate

WITHOUT_METAL = ["plain", *(["cpu", "native"] if here().kind == "cpu" else [])]
each_implementation = pytest.mark.parametrize("implementation", [*WITHOUT_METAL, "metal"])


def case(T: int, H: int, G: int, K: int, dtype: str = "float32", special: str = "", batch: int = 2) -> Case:
    return Case(model_of(context=T, heads=H, key_value_heads=G, head_width=K), batch, dtype, special)


def of_size(size: float) -> Callable[[Named], Named]:
    return lambda arrays: {**arrays, "projected": arrays["projected"] * size}


def every_other_row_zero(arrays: Named) -> Named:
    odd = mx.arange(arrays["projected"].shape[1])[:, None, None] % 2
    return {**arrays, "projected": mx.where(odd == 1, arrays["projected"], 0)}


# Widths with less than a pair per lane, and a single row, whose arrays lie in Metal's constant memory.
EDGES = [case(1, 1, 1, 2, batch=1), case(7, 2, 1, 6), case(9, 2, 2, 80), case(3, 12, 4, 96)]


@each_implementation
def test_edges(implementation: str) -> None:
    assert all(array.size < 8 for array in numbers(QK_NORM_ROPE, EDGES[0])[0].values())
    with able_to_run(implementation):
        for edge in EDGES:
            assert conformance.failure(QK_NORM_ROPE, implementation, edge) is None
        for change in (of_size(1e-9), of_size(1e12), every_other_row_zero):
            operation = with_inputs(QK_NORM_ROPE, change)
            assert conformance.failure(operation, implementation, case(7, 2, 1, 6, special="other")) is None
        for dtype, size in (("float16", 1e4), ("bfloat16", 1e12)) if implementation not in ("cpu", "native") else ():
            operation = with_inputs(QK_NORM_ROPE, of_size(size))
            assert conformance.failure(operation, implementation, case(7, 2, 1, 6, dtype, "other")) is None


@each_implementation
def test_rows_of_zeros_stay_zero_and_have_finite_gradients(implementation: str) -> None:
    of = case(7, 2, 1, 6)
    inputs, cotangents = numbers(QK_NORM_ROPE, of)
    with able_to_run(implementation):
        results = computed(QK_NORM_ROPE, QK_NORM_ROPE.by(implementation), of, every_other_row_zero(inputs), cotangents)
        assert not any(to_float64(results[name])[:, ::2].any() for name in ("query", "key", "value"))
        assert np.isfinite(to_float64(results["gradient of projected"])).all()


@each_implementation
def test_the_tables_get_no_gradient(implementation: str) -> None:
    of = case(3, 2, 1, 6)
    (projected, query_weight, key_weight, *tables), settings = (
        numbers(QK_NORM_ROPE, of)[0].values(),
        QK_NORM_ROPE.proof.settings(of),
    )

    def total(*tables: mx.array) -> mx.array:
        outputs = QK_NORM_ROPE(implementation, projected, query_weight, key_weight, *tables, **settings)
        return sum(output.sum() for output in outputs)

    with able_to_run(implementation):
        assert not any(to_float64(gradient).any() for gradient in mx.grad(total, argnums=(0, 1))(*tables))


def test_an_offset_continues_where_the_last_positions_ended() -> None:
    base, x = 10_000.0, mx.random.normal((1, 212, 2, 8))
    whole = to_float64(rotate(x, rotary_tables(212, 8, base)))
    for offset in (200, mx.array(200)):
        later = rotate(x[:, 200:], rotary_tables(12, 8, base, offset))
        np.testing.assert_array_equal(whole[:, 200:], to_float64(later))
    np.testing.assert_array_equal(whole[:, 0], to_float64(x[:, 0]), "the first position is not turned")


@pytest.mark.skipif(ON_GPU, reason="the emulator tells of launches")
def test_memory_is_that_of_the_heads_and_small_sums() -> None:
    """Apart from outputs and gradients, only terms of the weights' gradients are stored, a row per group of tokens."""
    B, T, K, H, G = 2, 33, 64, 4, 2
    of = replace(case(T, H, G, K), batch=B)
    with able_to_run("metal") as launches:
        mx.eval(computed(QK_NORM_ROPE, QK_NORM_ROPE.by("metal"), of, *numbers(QK_NORM_ROPE, of)))
    groups = -(-B * T // metal._TOKENS)
    assert [launch.name for launch in launches] == ["qk_norm_rope_forward", "qk_norm_rope_backward"]
    assert [[shape for _, shape, _ in launch.outputs] for launch in launches] == [
        [(B, T, H, K), (B, T, G, K), (B, T, G, K)],
        [(B, T, H + 2 * G, K), (groups, 2, K)],
    ]
    assert [launch.grid for launch in launches] == [(128 * -(-B * T * (H + 2 * G) // 4), 1, 1), (128 * groups, 1, 1)]
