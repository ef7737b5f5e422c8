"""The operations of a preset: names, shapes, every implementation right, whatever the number of lanes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal

from mlx_tiny.bench import operation as operation_module
from mlx_tiny.bench.kernels import judge
from mlx_tiny.bench.operation import BOTH, FORWARD, UPDATE, MlxRunner, Operation
from mlx_tiny.bench.operations import NAMES, intensity, least_launches, of_preset
from mlx_tiny.bench.updates import banks_of
from mlx_tiny.errors import TinyError
from mlx_tiny.linux import attention as attention_cpu
from mlx_tiny.linux import lanes as runtime
from mlx_tiny.model.parameters import parameter_specs, training_flops_per_token
from mlx_tiny.ops import activation, metal

from .micro import LONG, MICRO


def operations(dtype: str = "float32", *names: str) -> list[Operation]:
    return list(of_preset(MICRO, dtype, names or None))


def the(name: str, direction: str, dtype: str = "float32") -> Operation:
    (found,) = [o for o in operations(dtype, name) if o.direction == direction]
    return found


def test_every_operation_is_there_in_its_directions() -> None:
    found = [(o.name, o.direction) for o in operations()]
    updates = [(name, UPDATE) for name in ("newton-schulz", "adamw")]
    both_ways = ("attention", "heads", "cross-entropy", "mlp")
    assert found == [(name, way) for name in both_ways for way in (FORWARD, BOTH)] + updates
    assert {name for name, _ in found} == set(NAMES)
    assert {least_launches(o) for o in operations() if o.direction == BOTH} == {2}


def test_shapes_are_those_of_the_preset() -> None:
    shapes = {o.name: o.shape for o in operations()}
    assert shapes["attention"] == shapes["heads"] == "B4 T40 H4 G2 K32"
    assert shapes["cross-entropy"] == "N160 D48 V520" and shapes["mlp"] == "N160 D48 F80 SwiGLU"
    # Query 128 x 48, key and value 64 x 48, output 48 x 128; two inputs of the MLP 80 x 48, and its output.
    assert sorted(banks_of(parameter_specs(MICRO.model_config()))) == [(4, 48, 64), (4, 48, 128), (6, 48, 80)]


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(TinyError, match=r"Unknown operation 'softmax'.*attention, heads"):
        operations("float32", "softmax")


def test_flops_are_the_models() -> None:
    """Four operations and the two products around attention are all FLOPs of a step, but for the heads' norm."""
    c = MICRO.model_config()
    by_name = {o.name: o.flops for o in operations() if o.direction == BOTH}
    around = 6 * (c.width * (c.heads + 2 * c.key_value_heads) + c.heads * c.width) * c.head_width * 160
    layers = c.layers * (by_name["attention"] + by_name["mlp"] + around)
    assert layers + by_name["cross-entropy"] == pytest.approx(160 * training_flops_per_token(c))


def test_intensity_is_flops_a_byte() -> None:
    operation = the("mlp", FORWARD)
    assert intensity(operation) == operation.flops / operation.least_bytes


def fault(operation: Operation, name: str, compiled: bool = False) -> str | None:
    function = operation.implementations[name]
    assert not isinstance(function, str), function
    results = MlxRunner(operation, function, compiled=compiled).results()
    return judge(operation, name, results, operation.expected(), "float32").fault


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_implementation_that_can_run_here_is_right(dtype: str) -> None:
    checked = set()
    # Windows of several blocks too: in a short one no query looks beyond its own block.
    for operation in (*operations(dtype), *of_preset(LONG, dtype, ["attention"])):
        for name, function in operation.implementations.items():
            # MLX's fallback on a CPU adds exponentials up in bfloat16, and is rightly refused.
            rough = (operation.name, name, dtype) == ("cross-entropy", "mlx", "bfloat16")
            if not isinstance(function, str) and not rough:
                assert fault(operation, name) is None, (operation.name, operation.direction, name)
                checked.add((operation.name, name))
    assert {("attention", "plain"), ("attention", "mlx"), ("heads", "mlx"), ("adamw", "mlx")} <= checked
    on_a_cpu = {(name, "cpu") for name in ("attention", "heads", "cross-entropy", "mlp")}
    assert on_a_cpu & checked == (on_a_cpu if runtime.on_cpu() and dtype == "float32" else set())


def test_long_windows_have_blocks_and_padding() -> None:
    T = LONG.model_config().context
    assert attention_cpu.block_count(T) == 3 and T % 3 != 0
    assert attention_cpu.block_count(MICRO.model_config().context) == 1


def test_an_implementation_of_the_mlp_is_what_its_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    right = activation.activate

    def remember(hidden: mx.array, kind: str, *, implementation: str) -> mx.array:
        asked.append(implementation)
        return right(hidden, kind, implementation=implementation)

    operation = the("mlp", FORWARD)
    monkeypatch.setattr(activation, "activate", remember)
    assert fault(operation, "plain") is None
    assert set(asked) == {"plain"}


def test_a_compiled_operation_is_right() -> None:
    assert fault(the("mlp", BOTH), "plain", compiled=True) is None


@pytest.mark.parametrize("name", ["attention", "heads", "newton-schulz"])
def test_the_metal_kernels_are_a_row_where_they_run(name: str) -> None:
    with emulated_metal() as launches:
        operation = operations("float32", name)[-1]
        assert fault(operation, "metal") is None
    assert launches


@pytest.mark.parametrize("name", ["attention", "heads", "newton-schulz"])
def test_without_metal_the_row_says_why(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metal, "why_not_metal", lambda: "no GPU in a test")
    assert "no GPU in a test" in str(operations("float32", name)[0].implementations["metal"])


def test_on_a_gpu_the_cpus_implementations_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_module, "on_cpu", lambda: False)
    assert "GPU" in str(the("attention", FORWARD).implementations["cpu"])


@pytest.mark.parametrize("name", ["attention", "heads", "cross-entropy", "mlp"])
def test_lanes_share_the_windows_and_add_up_what_is_shared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = the(name, BOTH)
    monkeypatch.setattr(Operation, "checked_windows", [0, 3])
    found = []
    for count in (1, 2, 4):
        streams = tuple(mx.new_stream(mx.cpu) for _ in range(count))
        monkeypatch.setattr(runtime, "lanes", lambda streams=streams: streams)
        runner = MlxRunner(operation, operation.implementations["plain"], compiled=False)  # type: ignore[arg-type]
        assert len(runner._parts) == count
        found.append(runner.results())
    for results in found[1:]:
        assert results.keys() == found[0].keys()
        for key, array in results.items():
            np.testing.assert_allclose(array, found[0][key], rtol=1e-4, atol=1e-4)


def test_only_checked_windows_have_cotangents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "lanes", lambda: (mx.default_stream(mx.default_device()),) * 2)
    operation = the("attention", BOTH)
    kept = operation.checking_cotangents()["mixed"]
    assert operation.checked_windows == [0, 1, 3]
    assert np.array_equal(kept[[0, 1, 3]], operation.cotangents["mixed"][[0, 1, 3]]) and not kept[2].any()


@pytest.mark.parametrize(("lanes", "windows"), [(1, [0, 3]), (2, [0, 1, 3]), (3, [0, 1, 2, 3]), (8, [0, 1, 2, 3])])
def test_a_window_of_each_lane_is_checked(lanes: int, windows: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "lanes", lambda: (mx.default_stream(mx.default_device()),) * lanes)
    assert the("mlp", BOTH).checked_windows == windows


def test_one_run_computes_as_often_as_it_is_told() -> None:
    operation, built = the("mlp", FORWARD), []

    def count(inputs: Any) -> Any:
        built.append(None)
        return operation.implementations["plain"](inputs)  # type: ignore[operator]

    runner = MlxRunner(operation, count, compiled=False, calls=3)
    runner()
    assert len(built) == 3 * len(runner._parts)
    assert runner.peak_memory_bytes() > operation.least_bytes / 10


def test_a_gradient_of_what_no_window_has_is_whole() -> None:
    operation = replace(the("mlp", BOTH))
    assert operation.is_batched("gradient of x") and operation.is_batched("output")
    assert not operation.is_batched("gradient of first")
