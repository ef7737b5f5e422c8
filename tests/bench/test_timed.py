"""The operations of a preset: shapes, and right results of all implementations with any number of lanes."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal

from mlx_tiny.bench import runners as runners_module
from mlx_tiny.bench.kernels import checked
from mlx_tiny.bench.runners import TORCH, MlxRunner, runners, why_no_torch
from mlx_tiny.bench.timed import BOTH, FORWARD, OPERATIONS, UPDATE, Timed, of_preset
from mlx_tiny.errors import TinyError
from mlx_tiny.linux import attention as attention_cpu
from mlx_tiny.linux import lanes as runtime
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.ops.conformance import by_name
from mlx_tiny.ops.operation import Device

from .micro import LONG, MICRO, changed

UPDATES = ("newton_schulz", "adamw")
BOTH_WAYS = tuple(name for name in OPERATIONS if name not in UPDATES)


def the(name: str, direction: str, dtype: str = "float32") -> Timed:
    (found,) = [timed for timed in of_preset(MICRO, dtype, [name]) if timed.direction == direction]
    return found


def plain(timed: Timed) -> Any:
    return by_name(timed.operation, timed.operation.implementations["plain"].function, timed.case)


def found_by(timed: Timed, compiled: bool = False) -> dict[str, str | None]:
    """Errors of the results of each implementation and rival that can run here."""
    made = {name: make() for name, make in runners(timed, compiled=compiled) if not isinstance(make, str)}
    expected = timed.expected()
    return {name: checked(timed, name, runner.results(), expected, "float32").fault for name, runner in made.items()}


def test_operations_have_their_directions_and_the_shapes_of_the_preset() -> None:
    everything = list(of_preset(MICRO, "bfloat16"))
    ways = [(name, way) for name in BOTH_WAYS for way in (FORWARD, BOTH)] + [(name, UPDATE) for name in UPDATES]
    assert sorted((t.name[0], t.direction) for t in everything) == sorted(ways)
    assert all(t.case.dtype == ("float32" if t.name[0] in UPDATES else "bfloat16") for t in everything)
    shapes = {timed.name[0]: timed.operation.title(timed.case) for timed in everything}
    assert shapes["attention"] == shapes["qk_norm_rope"] == "B4 T40 H4 G2 K32"
    assert shapes["cross_entropy"] == "N160 D48 V520" and shapes["mlp"] == "N160 D48 F80 swiglu"
    # Query 128 x 48, key and value 64 x 48, output 48 x 128; two inputs of the MLP 80 x 48, and its output.
    assert sorted(shapes["newton_schulz"].split()) == ["4x[48,128]", "4x[48,64]", "6x[48,80]"]
    with pytest.raises(TinyError, match=r"Unknown operation 'softmax'.*norm, qk_norm_rope"):
        list(of_preset(MICRO, "float32", ["softmax"]))


def test_flops_are_the_models() -> None:
    """Attention, MLP, head and the two products around attention are all FLOPs of a step."""
    c = MICRO.config().model
    flops = {name: the(name, BOTH).flops for name in ("attention", "mlp", "cross_entropy")}
    around = 6 * (c.width * (c.heads + 2 * c.key_value_heads) + c.heads * c.width) * c.head_width * 160
    layers = c.layers * (flops["attention"] + flops["mlp"] + around)
    assert layers + flops["cross_entropy"] == pytest.approx(160 * training_flops_per_token(c))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_implementation_and_competitor_that_can_run_here_is_right(dtype: str) -> None:
    # Sequences of several blocks too: in a short one no query looks beyond its own block.
    T = LONG.config().model.context
    assert attention_cpu.block_count(T) == 3 and T % 3 != 0
    other = changed("other", activation="relu2", key_value_heads=4)
    presets = (*of_preset(MICRO, dtype), *of_preset(LONG, dtype, ["attention"]), *of_preset(other, dtype))
    found = {timed.name[0]: set[str]() for timed in presets}
    for timed in presets:
        for name, fault in found_by(timed).items():
            # MLX's fallback on a CPU adds exponentials up in bfloat16, and may rightly be refused.
            rough = (timed.name[0], name, dtype) == ("cross_entropy", "mlx", "bfloat16")
            assert fault is None or rough, (timed.name, name, fault)
            found[timed.name[0]].add(name)
    by_mlx = {name for name, implementations in found.items() if "mlx" in implementations}
    assert by_mlx == {"norm", "qk_norm_rope", "attention", "cross_entropy", "adamw"}
    assert all({"plain"} | ({TORCH} if why_no_torch() is None else set()) <= names for names in found.values())
    cpu = {name for name, implementations in found.items() if "cpu" in implementations}
    both_ways = set(BOTH_WAYS) if dtype == "float32" else set()
    assert cpu == (both_ways | {"newton_schulz"} if runtime.on_cpu() else set())


def test_a_compiled_operation_is_right() -> None:
    assert set(found_by(the("mlp", BOTH), compiled=True).values()) == {None}


@pytest.mark.torch
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_wrong_competitor_in_torch_is_named(name: str) -> None:
    timed = the(name, UPDATE if name in UPDATES else BOTH)
    proof = timed.operation.proof
    rival: Any = proof.rivals[TORCH]

    def wrong(inputs: Any, case: Any) -> Any:
        right = rival.function(inputs, case)
        last = list(right)[-1]
        return {**right, last: 1.1 * right[last]}

    planted = replace(proof, rivals={TORCH: replace(rival, function=wrong)})
    planted_timed = replace(timed, operation=replace(timed.operation, proof=planted))
    assert "as far from its formula as is allowed" in str(found_by(planted_timed)[TORCH])


@pytest.mark.parametrize("name", ["attention", "qk_norm_rope", "newton_schulz"])
def test_the_metal_kernels_are_a_row_where_they_run(name: str) -> None:
    timed = list(of_preset(MICRO, "float32", [name]))[-1]
    assert "expects that MLX computes on the GPU of a Mac" in str(dict(runners(timed, compiled=False))["metal"])
    with emulated_metal() as launches:
        make = dict(runners(timed, compiled=False))["metal"]
        assert checked(timed, "metal", make().results(), timed.expected(), "float32").fault is None
    assert launches


def test_on_a_gpu_the_cpus_implementations_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners_module, "here", lambda: Device("cuda"))
    assert "got an NVIDIA GPU" in str(dict(runners(the("attention", FORWARD), compiled=False))["cpu"])


def test_a_missing_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert why_no_torch() == dict(runners(the("mlp", BOTH), compiled=False))[TORCH] == "PyTorch is not installed"


def with_lanes(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    streams = tuple(mx.new_stream(mx.default_device()) for _ in range(count))
    monkeypatch.setattr(runtime, "lanes", lambda: streams)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_lanes_share_the_sequences_and_add_up_what_is_shared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timed, "checked_sequences", [0, 3])
    timed, found = the(name, BOTH), []
    for count in (1, 2, 4):
        with_lanes(monkeypatch, count)
        runner = MlxRunner(timed, plain(timed), compiled=False)
        assert len(runner._parts) == count
        found.append(runner.results())
    for results in found[1:]:
        assert results.keys() == found[0].keys()
        for key, array in results.items():
            np.testing.assert_allclose(array, found[0][key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("lanes", "sequences"), [(1, [0, 3]), (2, [0, 1, 3]), (3, [0, 1, 2, 3]), (8, [0, 1, 2, 3])])
def test_a_sequence_of_each_lane_is_checked(lanes: int, sequences: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with_lanes(monkeypatch, lanes)
    assert the("mlp", BOTH).checked_sequences == sequences


@pytest.mark.parametrize("name", ["attention", "cross_entropy"])
def test_only_checked_sequences_have_cotangents(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_lanes(monkeypatch, 2)
    timed = the(name, BOTH)
    ((result, array),) = timed.cotangents.items()
    kept, whole = (np.array(a).reshape(4, -1) for a in (timed.checking_cotangents[result], array))
    assert np.array_equal(kept[[0, 1, 3]], whole[[0, 1, 3]]) and not kept[2].any()
    # All positions of a sequence, whether it has an axis of its own or not.
    assert timed.expected()[result].size == whole[[0, 1, 3]].size


def test_one_run_computes_as_often_as_requested() -> None:
    timed, built = the("mlp", FORWARD), []
    count = functools.partial(lambda run, inputs: built.append(None) or run(inputs), plain(timed))
    runner = MlxRunner(timed, count, compiled=False, calls=3)
    runner()
    assert len(built) == 3 * len(runner._parts)
    assert runner.peak_memory_bytes() > timed.least_bytes / 10
