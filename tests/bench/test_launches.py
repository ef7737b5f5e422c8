"""The counter of launches: on chains, views, kernels and trees whose count is known."""

from __future__ import annotations

import functools
import shutil

import mlx.core as mx
import pytest

from mlx_tiny.bench import launches
from mlx_tiny.bench.launches import count_launches
from mlx_tiny.linux import lanes as runtime
from mlx_tiny.ops import attention, dispatch, metal


def kernel(x: mx.array) -> mx.array:
    call = mx.fast.metal_kernel(name="copy", input_names=["x"], output_names=["y"], source="y[0] = x[0];")
    return call(
        inputs=[x],
        template=[("T", x.dtype)],
        grid=(32, 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[x.shape],
        output_dtypes=[x.dtype],
    )[0]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.T.reshape(3, 8)[:, :2].squeeze()[None], {}),
        (lambda x: mx.split(mx.stop_gradient(x), 2), {}),
        (lambda x: mx.exp(2 * x + 1) - x, {"Compiled": 1}),
        (lambda x: (x @ x.T).sum() * 2, {"Matmul": 1, "Sum": 1, "Multiply": 1}),
        (lambda x: mx.concatenate([x, x, x]), {"Concatenate": 3}),
        # The chain is cut at a kernel.
        (lambda x: mx.exp(kernel(mx.exp(x + 1)) + 1), {"Compiled": 2, "CustomKernel": 1}),
        (lambda x: mx.fast.rms_norm(x, None, 1e-5), {"CustomKernel": 1}),
        (lambda x: mx.vjp(lambda a: mx.fast.rms_norm(a, None, 1e-5), [x], [x])[1], {"CustomKernel": 1}),
        (lambda x: mx.vjp(lambda w: mx.fast.rms_norm(x, w, 1e-5), [x[0]], [x]), {"CustomKernel": 2, "Sum": 1}),
        (lambda x: {"a": [x + x], "b": -x}, {"Add": 1, "Negative": 1}),
        (lambda x: mx.zeros((5,)), {"Full": 1}),
    ],
)
def test_launches_by_name(function, expected: dict[str, int]) -> None:
    got = dict(count_launches(function, mx.ones((6, 4))))
    # Which row is taken is an index in memory.
    got.pop("Gather", None)
    assert got == expected


def test_arguments_are_trees_and_what_made_them_is_not_counted() -> None:
    tree = {"matrix": mx.ones((4, 4)) * 2, "list": [mx.arange(4) + 1]}
    assert count_launches(lambda t: t["matrix"] @ t["list"][0].astype(mx.float32), tree) == {"AsType": 1, "Matmul": 1}


def test_nothing_is_left_behind() -> None:
    before = mx.fast.metal_kernel, mx.fast.rms_norm, metal.why_not_metal(), dict(dispatch._verdicts)
    count_launches(kernel, mx.ones((3,)))
    assert before == (mx.fast.metal_kernel, mx.fast.rms_norm, metal.why_not_metal(), dispatch._verdicts)


def test_there_is_one_lane_as_on_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = tuple(mx.new_stream(mx.default_device()) for _ in range(2))
    monkeypatch.setattr(runtime, "lanes", lambda: streams)

    def by_lanes(x: mx.array) -> list[mx.array]:
        parts = []
        for index, part in enumerate(mx.split(x, len(runtime.shares(len(x))))):
            with runtime.lane(index):
                parts.append(part @ part.T)
        return parts

    assert len(by_lanes(mx.ones((6, 4)))) == 2
    assert count_launches(by_lanes, mx.ones((6, 4))) == {"Matmul": 1}


def test_what_is_found_out_on_the_pretended_mac_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metal, "found_out", functools.cache(runtime.on_cpu), raising=False)
    here, asked = runtime.on_cpu(), list[bool]()
    count_launches(lambda x: asked.append(metal.found_out()) or x, mx.ones(3))
    assert asked == [False] and metal.found_out() == here


@pytest.mark.skipif(not runtime.on_cpu(), reason="a GPU needs no g++")
def test_that_a_cpu_cannot_compile_is_known_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "why_not_compiled", functools.cache(runtime.why_not_compiled.__wrapped__))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    asked = list[str | None]()
    count_launches(lambda x: asked.append(runtime.why_not_compiled()) or x, mx.ones(3))
    assert "g++" in str(asked[0]) and asked[0] == runtime.why_not_compiled()


def test_kernels_of_the_pretended_mac_do_not_stay() -> None:
    def attend(x: mx.array) -> mx.array:
        return attention.causal_attention(x, x, x, scale=1.0)

    count_launches(lambda x: x, mx.ones(3))  # what is true of this machine is kept
    sizes = {function: function.cache_info().currsize for function in launches._caches()}
    assert count_launches(attend, mx.ones((1, 64, 2, 32)))["CustomKernel"] == 1
    kept = {f.__name__ for f in launches._caches() if f.cache_info().currsize > sizes.get(f, 0)}
    assert metal._bound in sizes and kept == set()


def test_what_is_made_for_a_cpu_is_not_chosen() -> None:
    asked: list[bool] = []
    count_launches(lambda x: asked.append(runtime.on_cpu()) or x, mx.ones(3))
    assert asked == [False]
