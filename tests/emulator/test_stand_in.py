"""The stand-in for `mx.fast.metal_kernel` under MLX's transformations, in streams, with every type."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.ops import metal
from mlx_tiny.ops.metal import kernel_folder

from . import emulated_metal, lane_maps
from .cache import cache_folder
from .single_kernel import run_kernel

pytestmark = pytest.mark.compile_ahead

SQUARE = "uint i = thread_position_in_grid.x; o[i] = a[i] * a[i];"
SQUARE_GRADIENT = "uint i = thread_position_in_grid.x; o[i] = T(2) * a[i] * c[i];"


def launch(name: str, body: str, *inputs: mx.array, stream: mx.Stream | None = None) -> mx.array:
    kernel: Any = mx.fast.metal_kernel(
        name=name, input_names=["a", "c"][: len(inputs)], output_names=["o"], source=body
    )
    a = inputs[0]
    results: list[mx.array] = kernel(
        inputs=list(inputs),
        template=[("T", a.dtype)],
        grid=(a.size, 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[a.shape],
        output_dtypes=[a.dtype],
        stream=stream,
    )
    return results[0]


@mx.custom_function
def square(x: mx.array) -> mx.array:
    return launch("square", SQUARE, x)


@square.vjp
def square_gradient(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
    return launch("square_gradient", SQUARE_GRADIENT, x, cotangent)


def total(x: mx.array) -> Any:
    squares: Any = square(mx.sin(x).T)
    return (squares * 3).sum()


@pytest.mark.parametrize("checking", [False, True])
def test_gradients_flow_through_a_custom_function(checking: bool) -> None:
    x = mx.array(np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32))
    with emulated_metal(checking=checking) as launches:
        pair: Any = mx.value_and_grad(total)(x)
        value, gradient = pair
        again = mx.grad(mx.checkpoint(total))(x)
    np.testing.assert_allclose(value.item(), (3 * mx.sin(x) ** 2).sum().item(), rtol=1e-6)
    for got in (gradient, again):
        np.testing.assert_allclose(np.array(got), np.array(6 * mx.sin(x) * mx.cos(x)), rtol=1e-5, atol=1e-6)
    assert [launch.name for launch in launches[:2]] == ["square", "square_gradient"]


def test_a_launch_is_recorded() -> None:
    with emulated_metal() as launches:
        mx.vjp(square, [mx.ones((4, 8), mx.bfloat16)], [mx.ones((4, 8), mx.bfloat16)])
    record = launches[1]
    assert (record.name, record.grid, record.threadgroup) == ("square_gradient", (32, 1, 1), (32, 1, 1))
    assert record.inputs == [("a", (4, 8), mx.bfloat16), ("c", (4, 8), mx.bfloat16)]
    assert record.outputs == [("o", (4, 8), mx.bfloat16)]
    assert "[[kernel]] void custom_kernel_square_gradient" in record.source


@pytest.mark.parametrize("dtype", "float32 float16 bfloat16 int32 uint32 uint8 int8 bool_".split())
def test_every_type_goes_in_and_out(dtype: str) -> None:
    a = (mx.arange(64) % 2 if dtype == "bool_" else mx.arange(64) - (0 if dtype[0] == "u" else 30)).astype(
        getattr(mx, dtype)
    )
    got = run_kernel(
        "uint i = thread_position_in_grid.x; o[i] = a[63 - i];", a, threads=64, dtype=a.dtype, checking=True
    )
    assert got.dtype == a.dtype
    np.testing.assert_array_equal(np.array(got.astype(mx.float32)), np.array(a.astype(mx.float32))[::-1])


def test_inputs_are_seen_row_contiguous() -> None:
    a = mx.arange(64).reshape(8, 8)
    for view in (a.T, a[::2, 1:5], mx.broadcast_to(a[:1], (8, 8)), a[3:]):
        body = "uint i = thread_position_in_grid.x; o[i] = a[i] + a_strides[0] * 100;"
        got = run_kernel(body, view, threads=view.size, shape=view.shape, dtype=mx.int32, checking=True)
        np.testing.assert_array_equal(np.array(got), np.array(view) + view.shape[1] * 100)


def test_in_a_stream_of_its_own() -> None:
    stream = mx.new_stream(mx.cpu)
    x = mx.arange(32).astype(mx.float32)
    with emulated_metal():
        with mx.stream(stream):
            inside = square(x + 1)
        given = launch("square", SQUARE, x + 1, stream=stream)
    for got in (inside, given):
        np.testing.assert_array_equal(np.array(got), (np.arange(32) + 1.0) ** 2)


def test_numbers_may_be_inputs() -> None:
    assert run_kernel("o[thread_position_in_grid.x] = a;", mx.array(2.5)).tolist() == [2.5] * 32


def test_metal_seems_to_be_there_only_inside() -> None:
    before, kernel = metal.why_not_metal(), mx.fast.metal_kernel
    with emulated_metal():
        assert metal.why_not_metal() is None
        assert mx.fast.metal_kernel is not kernel
    assert metal.why_not_metal() == before
    assert mx.fast.metal_kernel is kernel


def test_what_it_does_not_know_is_refused() -> None:
    with emulated_metal():
        with pytest.raises(NotImplementedError, match="row_contiguous"):
            mx.fast.metal_kernel(
                name="k", input_names=["a"], output_names=["o"], source="", ensure_row_contiguous=False
            )
        with pytest.raises(ValueError, match="1 to 1024 threads"):
            run_kernel("o[0] = 1.0f;", threads=1056)
    with pytest.raises(ValueError, match="lane map"), emulated_metal(lane_map="unknown"):
        pass


def test_the_other_lane_map_defines_the_same_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    header = (kernel_folder() / "simdgroup.h").read_text()
    for lane_map in ("apple", "other"):
        body = """
        uint lane = thread_index_in_simdgroup;
        simdgroup_float8x8 m;
        simdgroup_load(m, a, 8);
        float first = m.thread_elements()[0];
        float place = float(matrix_row(lane) * 8 + matrix_column(lane));
        float sum = row_sum(first + m.thread_elements()[1]);
        float most = row_maximum(max(first, m.thread_elements()[1]));
        o[matrix_row(lane)] = first == place ? sum * 100.0f + most : -1.0f;
        """
        a = mx.arange(64).astype(mx.float32)
        got = run_kernel(body, a, header=header, shape=(8,), lane_map=lane_map)
        rows = np.arange(64).reshape(8, 8)
        np.testing.assert_array_equal(np.array(got), rows.sum(axis=1) * 100 + rows.max(axis=1))
    missing = tmp_path / "other_simdgroup.h"
    missing.write_text("inline uint matrix_row(uint lane) {\n  return lane / 4;\n}\n")
    monkeypatch.setattr(lane_maps, "OTHER", missing)
    lane_maps._texts.cache_clear()
    with pytest.raises(AssertionError, match="must define"):
        run_kernel(body, a, header=header, shape=(8,), lane_map="other")
    lane_maps._texts.cache_clear()


def _compile_and_run(folder: str, results: Any) -> None:
    os.environ["MLX_TINY_EMULATOR_CACHE"] = folder
    results.put(run_kernel(SQUARE, mx.arange(32).astype(mx.float32)).tolist())


def test_processes_share_the_cache_and_leave_nothing_half_done(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_compile_and_run, args=(str(tmp_path), results)) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=120) for _ in processes] == [[float(i * i) for i in range(32)]] * 2
    for process in processes:
        process.join()
    assert {path.suffix for path in tmp_path.iterdir()} == {".so", ".o"}
    assert len(list(tmp_path.glob("*.so"))) == 1


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLX_TINY_EMULATOR_CACHE", str(tmp_path / "below" / "here"))
    assert cache_folder() == tmp_path / "below" / "here"
    monkeypatch.delenv("MLX_TINY_EMULATOR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mlx_tiny" / "emulator"
