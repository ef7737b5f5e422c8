"""The counter of launches, on graphs whose number of launches is known."""

from __future__ import annotations

from collections import Counter

import mlx.core as mx
import pytest

from mlx_tiny.bench.launches import count_launches, mac
from mlx_tiny.linux import lanes
from mlx_tiny.ops import conformance
from mlx_tiny.ops.attention import ATTENTION
from mlx_tiny.ops.inputs import model_of
from mlx_tiny.ops.metal import why_not_metal
from mlx_tiny.ops.operation import Case, Operation
from mlx_tiny.ops.qk_norm_rope import QK_NORM_ROPE


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


ROWS = mx.array([0, 2])


def picked(x: mx.array) -> mx.array:
    return mx.take_along_axis(x, ROWS[:, None], axis=1).sum()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.T.reshape(3, 8)[:, :2].squeeze()[None], {}),
        (lambda x: mx.split(mx.stop_gradient(x), 2), {}),
        (lambda x: mx.exp(2 * x + 1) - x, {"Compiled": 1}),
        (lambda x: (x @ x.T).sum() * 2, {"Matmul": 1, "Sum": 1, "Multiply": 1}),
        (lambda x: mx.concatenate([x, x, x]), {"Concatenate": 3}),
        # Names with a blank in them.
        (lambda x: x.at[ROWS].add(mx.array([[1.0] * 4])), {"Scatter Sum": 1}),
        (lambda x: x.at[ROWS].maximum(mx.array([[1.0] * 4])), {"Scatter Max": 1}),
        (lambda x: mx.grad(picked)(x[:2]), {"Full": 1, "ScatterAxis Sum": 1}),
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


def test_there_is_one_lane_as_on_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = tuple(mx.new_stream(mx.default_device()) for _ in range(2))
    monkeypatch.setattr(lanes, "_lanes", lambda: streams)

    def by_lanes(x: mx.array) -> list[mx.array]:
        parts = []
        for index, part in enumerate(mx.split(x + 1, len(lanes.shares(len(x))))):
            with lanes.lane(index):
                parts.append(part * 2)
        return parts

    assert len(by_lanes(mx.ones((6, 4)))) == 2
    # Fused across the border of the lane, which is the default stream.
    assert count_launches(by_lanes, mx.ones((6, 4))) == {"Compiled": 1}


def test_nothing_is_left_behind() -> None:
    attend = ATTENTION.implementations["metal"].function
    before = mx.fast.metal_kernel, mx.fast.rms_norm, why_not_metal(), lanes.lanes()
    assert count_launches(lambda x: attend(x, x, x, scale=1.0), mx.ones((1, 64, 2, 32))) == {"CustomKernel": 1}
    assert before == (mx.fast.metal_kernel, mx.fast.rms_norm, why_not_metal(), lanes.lanes())
    # What was built meanwhile computes nothing, and is not taken for a kernel afterwards.
    if why_not_metal() is not None:
        with pytest.raises((RuntimeError, ValueError)):
            mx.eval(attend(*[mx.ones((1, 64, 2, 32))] * 3, scale=1.0))
    assert mac().kind == "metal"


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_kernel_or_two_each_way_instead_of_many_and_little_beside_them(dtype: str) -> None:
    """The numbers are those of kernels/README.md."""
    case = Case(model_of(context=64, heads=4, key_value_heads=2, head_width=32), 2, dtype)

    def launches(operation: Operation, implementation: str) -> list[Counter[str]]:
        function = operation.implementations[implementation].function
        inputs, cotangents = conformance.numbers(operation, case)
        return [
            count_launches(lambda a, b: conformance.computed(operation, function, case, a, b), inputs, given)
            for given in ({}, cotangents)
        ]

    assert launches(ATTENTION, "metal") == [{"CustomKernel": 1}, {"CustomKernel": 3}]
    # The terms of the weights' gradients are added up, and in 16 bits cast.
    cast = {} if dtype == "float32" else {"AsType": 1}
    assert launches(QK_NORM_ROPE, "metal") == [{"CustomKernel": 1}, {"CustomKernel": 2, "Sum": 1, **cast}]
    plain = [counts.total() for counts in launches(QK_NORM_ROPE, "plain")]
    assert plain == ([10, 25] if dtype == "float32" else [12, 27])
