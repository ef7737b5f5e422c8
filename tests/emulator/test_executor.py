"""What the emulator computes: types, vectors, operations of simdgroups, matrices, atomics, places of threads."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.ops.conformance import to_float64

from . import CompileError, KernelFault, NotTranslatable, emulated_metal, executor
from .single_kernel import run_kernel

pytestmark = pytest.mark.compile_ahead

ARM = platform.machine() in ("arm64", "aarch64")
THREAD = "uint i = thread_position_in_grid.x;\n"
LANES = np.arange(32)


def numbers(size: int = 32, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(size).astype(np.float32))


def test_the_text_is_that_of_mlx_with_shapes_strides_and_templates() -> None:
    body = THREAD + "o[i] = T(a[i]) * N + a_shape[0] * 100 + a_strides[0] * 10 + a_ndim + (FLAG ? 0.5f : 0.0f);"
    template = [("T", mx.float32), ("N", 3), ("FLAG", True)]
    got = run_kernel(body, mx.arange(32).reshape(4, 8), template=template)
    np.testing.assert_array_equal(np.array(got), LANES * 3 + 400 + 80 + 2 + 0.5)


@pytest.mark.parametrize("size", [1, 7, 8])
def test_small_inputs_arrive_as_constants(size: int) -> None:
    got = run_kernel(THREAD + "o[i] = a[i % N] + b;", mx.arange(size), mx.array(0.5), template=[("N", size)])
    np.testing.assert_array_equal(np.array(got), LANES % size + 0.5)


def test_places_of_threads() -> None:
    body = """
    uint3 p = thread_position_in_grid, g = threadgroups_per_grid, t = threads_per_threadgroup;
    uint group = (threadgroup_position_in_grid.z * g.y + threadgroup_position_in_grid.y) * g.x
        + threadgroup_position_in_grid.x;
    uint i = (p.z * grid_size.y + p.y) * grid_size.x + p.x;
    o[i] = group * 1000000 + t.x * 10000 + thread_index_in_threadgroup * 100 + thread_index_in_simdgroup
        + 1000 * (simdgroup_index_in_threadgroup == thread_index_in_threadgroup / 32)
        + 10000000 * simdgroups_per_threadgroup + thread_position_in_threadgroup.x * 0;
    """
    got = np.array(run_kernel(body, threads=64, threadgroups=(2, 3, 2), dtype=mx.int32)).reshape(2, 3, 2, 64)
    thread = np.arange(64)
    group = np.arange(12).reshape(2, 3, 2, 1)
    expected = group * 1000000 + 64 * 10000 + thread * 100 + thread % 32 + 1000 + 20000000
    np.testing.assert_array_equal(got, expected)


def test_a_grid_that_is_no_multiple_of_the_threadgroup_ends_in_a_smaller_one() -> None:
    with emulated_metal(checking=True):
        kernel: Any = mx.fast.metal_kernel(
            name="sample",
            input_names=[],
            output_names=["o"],
            source=THREAD + "o[i] = threads_per_threadgroup.x + simd_sum(1.0f);",
        )
        (got,) = kernel(
            inputs=[], grid=(40, 1, 1), threadgroup=(32, 1, 1), output_shapes=[(40,)], output_dtypes=[mx.float32]
        )
    np.testing.assert_array_equal(np.array(got), [64.0] * 32 + [16.0] * 8)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("operator", ["+", "-", "*", "/"])
def test_each_operation_of_16_bits_rounds(dtype: str, operator: str) -> None:
    a, b, c = (numbers(256, seed).astype(getattr(mx, dtype)) for seed in range(3))
    body = THREAD + f"T x = a[i] {operator} b[i]; o[i] = x * c[i];"
    got = run_kernel(body, a, b, c, threads=256, dtype=a.dtype, template=[("T", a.dtype)])
    # MLX rounds after each operation, too.
    first = {"+": a + b, "-": a - b, "*": a * b, "/": a / b}[operator]
    np.testing.assert_array_equal(to_float64(got), to_float64(first * c))


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_rounding_is_to_the_nearest_and_even_at_the_tie(dtype: mx.Dtype) -> None:
    step = 2.0**-10 if dtype == mx.float16 else 2.0**-7
    values = [
        1 + step / 2,
        1 + step * 3 / 2,
        1 + step * 0.51,
        -1 - step / 2,
        7e4,
        3.4e38,
        float("inf"),
        1e-8,
        0.0,
        -0.0,
    ]
    a = mx.array([*values, *[0.0] * (32 - len(values))], mx.float32)
    got = run_kernel(THREAD + "o[i] = T(a[i]);", a, dtype=dtype, template=[("T", dtype)])
    np.testing.assert_array_equal(to_float64(got), to_float64(a.astype(dtype)))
    nan = run_kernel(THREAD + "o[i] = T(a[0] - a[0]);", mx.array([float("inf")]), dtype=dtype, template=[("T", dtype)])
    assert np.isnan(to_float64(nan)).all()


def test_a_nan_stays_one_whatever_its_bits() -> None:
    a = mx.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], mx.uint32).view(mx.float32)
    got = run_kernel("o[thread_position_in_grid.x] = bfloat(a[thread_position_in_grid.x % 4]);", a, dtype=mx.bfloat16)
    assert np.isnan(to_float64(got)).all()


def test_half_turns_to_float_and_back_silently_and_bfloat_only_to_float() -> None:
    a = numbers().astype(mx.float16)
    got = run_kernel(THREAD + "half h = a[i]; float f = h; h = f * 2.0f; h += 1.0f; o[i] = h;", a)
    np.testing.assert_allclose(np.array(got), 2 * to_float64(a) + 1, atol=2e-3)
    got = run_kernel(THREAD + "bfloat h = bfloat(a[i]); float f = h; o[i] = f;", a)
    np.testing.assert_array_equal(to_float64(got), to_float64(a.astype(mx.float32).astype(mx.bfloat16)))
    with pytest.raises(CompileError, match="body of sample, line 2"):
        run_kernel(THREAD + "bfloat h = 1.0f;\n o[i] = h;", a)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("exp", np.exp),
        ("exp2", np.exp2),
        ("log", np.log),
        ("log2", np.log2),
        ("sqrt", np.sqrt),
        ("rsqrt", lambda x: 1 / np.sqrt(x)),
        ("tanh", np.tanh),
        ("fast::exp2", np.exp2),
        ("precise::log", np.log),
        ("metal::abs", np.abs),
        ("floor", np.floor),
    ],
)
def test_functions(name: str, function: Callable[[np.ndarray], np.ndarray]) -> None:
    a = mx.abs(numbers()) + 0.1
    exact = to_float64(a)
    np.testing.assert_allclose(np.array(run_kernel(THREAD + f"o[i] = {name}(a[i]);", a)), function(exact), rtol=4e-7)
    half = a.astype(mx.float16)
    got = run_kernel(THREAD + f"half h = {name}(a[i]); o[i] = float(h);", half)
    np.testing.assert_allclose(np.array(got), function(to_float64(half)), rtol=2e-3)


def test_functions_of_more_arguments() -> None:
    a, b = numbers(), numbers(seed=1)
    x, y = to_float64(a), to_float64(b)
    for text, expected in [
        ("fma(a[i], b[i], 2.0f)", x * y + 2),
        ("max(a[i], b[i]) + min(a[i], 0.5f)", np.maximum(x, y) + np.minimum(x, 0.5)),
        ("clamp(a[i], -0.5f, 0.25f)", np.clip(x, -0.5, 0.25)),
        ("select(a[i], b[i], a[i] < 0.0f)", np.where(x < 0, y, x)),
        ("max(a[i] / 0.0f - a[i] / 0.0f, b[i])", y),
        ("float(abs(int(a[i] * 100.0f)))", np.abs((to_float64(a * 100)).astype(int))),
        ("as_type<float>(as_type<uint>(a[i]) ^ 0x80000000u)", -x),
    ]:
        np.testing.assert_allclose(
            np.array(run_kernel(THREAD + f"o[i] = {text};", a, b)), expected, atol=1e-5, rtol=1e-6
        )


def test_vectors() -> None:
    body = """
    uint i = thread_position_in_grid.x;
    float4 v = ((const device float4*)a)[i];
    half2 h = half2(v.x, v.y);
    float2 f = float2(h) * 2.0f;
    v.w += dot(v, float4(1.0f));
    ((device float4*)o)[i] = v + float4(f, float2(f.y, f[0]));
    """
    a = numbers(128)
    got = np.array(run_kernel(body, a, shape=(128,), checking=True)).reshape(32, 4)
    v = np.array(a).reshape(32, 4).copy()
    f = v[:, :2].astype(np.float16).astype(np.float32) * 2
    v[:, 3] += v.sum(axis=1)
    np.testing.assert_allclose(got, v + np.stack([f[:, 0], f[:, 1], f[:, 1], f[:, 0]], axis=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("simd_shuffle_xor(a[i], ushort(5))", lambda a: a[LANES ^ 5]),
        ("simd_shuffle(a[i], ushort(31 - i))", lambda a: a[::-1]),
        ("simd_shuffle_up(a[i], ushort(3))", lambda a: np.concatenate([a[:3], a[:-3]])),
        ("simd_shuffle_down(a[i], ushort(3))", lambda a: np.concatenate([a[3:], a[-3:]])),
        ("simd_broadcast(a[i], ushort(7))", lambda a: np.full(32, a[7])),
        ("simd_max(a[i])", lambda a: np.full(32, a.max())),
        ("simd_min(a[i])", lambda a: np.full(32, a.min())),
        ("simd_prefix_exclusive_sum(a[i])", lambda a: np.cumsum(a) - a),
        ("simd_sum(a[i])", lambda a: np.full(32, a.sum())),
    ],
)
def test_operations_of_a_simdgroup(call: str, expected: Callable[[np.ndarray], np.ndarray], dtype: str) -> None:
    # Small integers, whose sums are exact in every type.
    values = np.random.default_rng(0).integers(-9, 9, 32)
    a = mx.array(values).astype(getattr(mx, dtype))
    got = run_kernel(THREAD + f"o[i] = {call};", a, dtype=a.dtype)
    np.testing.assert_array_equal(np.array(got.astype(mx.float32)), expected(values))


def test_meetings_in_a_row_do_not_mix() -> None:
    body = THREAD + "o[i] = 1000.0f * simd_shuffle_xor(a[i], ushort(1)) + simd_shuffle_xor(a[i] + 100.0f, ushort(2));"
    got = run_kernel(body, mx.arange(32).astype(mx.float32))
    np.testing.assert_array_equal(np.array(got), 1000 * (LANES ^ 1) + (LANES ^ 2) + 100)


def test_simdgroups_of_a_threadgroup_do_not_mix_and_barriers_join_them() -> None:
    body = """
    threadgroup float sums[4];
    uint i = thread_position_in_grid.x;
    float sum = simd_sum(a[i]);
    if (thread_index_in_simdgroup == 0) sums[simdgroup_index_in_threadgroup] = sum;
    threadgroup_barrier(mem_flags::mem_threadgroup);
    o[i] = sums[0] + 2.0f * sums[1] + 3.0f * sums[2] + 4.0f * sums[3];
    """
    a = numbers(256)
    sums = np.array(a).reshape(2, 4, 32).sum(axis=2)
    got = run_kernel(body, a, threads=128, threadgroups=(2, 1, 1), checking=True)
    np.testing.assert_allclose(np.array(got).reshape(2, 128), np.tile((sums @ [1, 2, 3, 4])[:, None], 128), rtol=1e-5)


MATRICES = """
    threadgroup T tile[10 * 12];
    uint i = thread_position_in_threadgroup.x;
    for (uint k = i; k < 120; k += 32) tile[k] = T(a[k]);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    simdgroup_matrix<T, 8, 8> left, right;
    simdgroup_load(left, tile, 12, ulong2(2, 1));
    simdgroup_load(right, tile, 12, ulong2(1, 2), true);
    simdgroup_float8x8 sum = make_filled_simdgroup_matrix<float, 8, 8>(0.5f);
    simdgroup_multiply_accumulate(sum, left, right, sum);
    simdgroup_store(sum, o, 8);
"""


@pytest.mark.parametrize("lane_map", ["apple", "other"])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
def test_matrices_with_strides_origins_and_transposition(dtype: mx.Dtype, lane_map: str) -> None:
    a = numbers(120)
    got = run_kernel(MATRICES, a, shape=(8, 8), template=[("T", dtype)], checking=True, lane_map=lane_map)
    tile = to_float64(a.astype(dtype)).reshape(10, 12)
    # Origins are (column, row) in memory; the second matrix is transposed behind its origin.
    expected = 0.5 + tile[1:9, 2:10] @ tile[2:10, 1:9].T
    np.testing.assert_allclose(np.array(got), expected, atol=1e-5)


@pytest.mark.parametrize("lane_map", ["apple", "other"])
def test_lanes_hold_two_neighbours_of_a_row(lane_map: str) -> None:
    body = """
    simdgroup_float8x8 matrix;
    simdgroup_load(matrix, a, 8);
    uint i = thread_position_in_grid.x;
    o[2 * i] = matrix.thread_elements()[0];
    o[2 * i + 1] = matrix.thread_elements()[1];
    """
    got = np.array(run_kernel(body, mx.arange(64, dtype=mx.float32), shape=(32, 2), lane_map=lane_map)).astype(int)
    rows, columns = got // 8, got % 8
    assert (rows[:, 0] == rows[:, 1]).all() and (columns[:, 1] == columns[:, 0] + 1).all()
    assert sorted(got.ravel()) == list(range(64))
    # Lane 8 is where the two maps part.
    assert (rows[8, 0], columns[8, 0]) == ((0, 4) if lane_map == "apple" else (2, 0))


def test_atomics_add_up_over_threadgroups() -> None:
    body = """
    device atomic<float>* sum = (device atomic<float>*)o;
    atomic_fetch_add_explicit(sum, a[thread_position_in_grid.x], memory_order_relaxed);
    if (thread_position_in_grid.x < 40) {
      atomic_fetch_max_explicit((device atomic_uint*)(o + 1), thread_position_in_grid.x, memory_order_relaxed);
    }
    """
    a = mx.arange(96).astype(mx.float32)
    got = run_kernel(body, a, threadgroups=(3, 1, 1), shape=(2,), init_value=0.0, checking=True)
    assert got[0].item() == 96 * 95 / 2
    assert got[1].view(mx.uint32).item() == 39


def test_what_is_not_written_is_odd_and_an_initial_value_is_kept() -> None:
    got = run_kernel("if (thread_position_in_grid.x == 0) o[0] = 1.0f;")
    assert got[0].item() == 1 and np.isnan(np.array(got)[1:]).all()
    got = run_kernel("if (thread_position_in_grid.x == 0) o[0] = T(1);", dtype=mx.uint8, template=[("T", mx.uint8)])
    assert got.tolist() == [1] + [0xA5] * 31
    got = run_kernel("if (thread_position_in_grid.x == 0) o[0] = 1.0f;", init_value=7.0, checking=True)
    assert got.tolist() == [1.0] + [7.0] * 31


@pytest.mark.parametrize(
    "declaration",
    [
        "threadgroup float x;",
        "threadgroup float x[2][3];",
        "threadgroup float x[2] = {0};",
        "threadgroup float x[2], y[2];",
    ],
)
def test_other_forms_of_threadgroup_variables_are_refused(declaration: str) -> None:
    with pytest.raises(NotTranslatable, match="expected `threadgroup T name"):
        run_kernel(declaration)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (THREAD + "\no[i + 32] = 1.0f;", "body of sample, line 3: access outside of o"),
        pytest.param(
            THREAD + "volatile int zero = 0; o[i] = 4 / zero;",
            "body of sample, line 2: undefined: integer division by zero",
            marks=pytest.mark.skipif(ARM, reason="this processor divides by zero without a word"),
        ),
        (THREAD + "const_cast<float*>(a)[i] = 1.0f;", "body of sample, line 2: write to an input: a"),
        (THREAD + "o[i] = *(device float*)(ulong(i) * 8ul);", "body of sample, line 2"),
        (THREAD + "volatile float big[60000]; big[i] = 1.0f; o[i] = big[3];", "local variables"),
        ("threadgroup float x[8193]; x[0] = 1.0f; o[0] = 1.0f;", "32772 bytes of threadgroup memory"),
    ],
)
def test_the_plain_build_survives_a_crash_and_names_the_line(body: str, message: str) -> None:
    with pytest.raises(KernelFault, match=message.replace("(", r"\(")):
        run_kernel(body, numbers())


@pytest.mark.parametrize("checking", [False, True])
@pytest.mark.parametrize("inside", ["o[i] = a[i];", "simd_sum(1.0f);"])
def test_an_endless_loop_ends(monkeypatch: pytest.MonkeyPatch, inside: str, checking: bool) -> None:
    monkeypatch.setattr(executor, "LIMIT_MS", 100)
    with pytest.raises(KernelFault, match="body of sample, line 2: the launch does not end"):
        run_kernel(THREAD + f"while (a[i] < 2.0f) {inside}\no[i] = 1.0f;", mx.ones(32), checking=checking)
