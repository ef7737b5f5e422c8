"""`mlx-tiny profile`: parts of the step, their sum, drift and traces."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlx_tiny.bench import drift, stream
from mlx_tiny.bench import profile as profiling
from mlx_tiny.bench.launches import mac, step_launches
from mlx_tiny.bench.profile import ALL, GROUPS, NOTHING, PartialStep
from mlx_tiny.bench.record import Profile
from mlx_tiny.bench.weights import nonzero_parameters
from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import parameter_specs, training_flops_per_token
from mlx_tiny.ops import metal
from mlx_tiny.records import from_plain, to_json
from mlx_tiny.training.step import TrainingState, TrainingStep, fresh_state, step_implementations

from .micro import MICRO, PEAKS

CONFIG = replace(MICRO.config(), train=replace(MICRO.config().train, compile=False))
BATCH = np.random.default_rng(0).integers(0, 520, (4, 41), dtype=np.int32)


def state() -> TrainingState:
    return TrainingState(nonzero_parameters(CONFIG.model), fresh_state(CONFIG).optimizer)


def test_a_step_of_all_parts_is_the_step_of_training() -> None:
    after, loss = TrainingStep(CONFIG, compiled=False)(state(), BATCH, 1.0, 0.95)
    results = PartialStep(CONFIG, ALL, compiled=False)(state(), BATCH)
    assert results[0].item() - loss.item() == 0.0
    for got, expected in zip(results, [loss, *after.arrays()], strict=True):
        assert mx.array_equal(got, expected).item()


MATTERS = {
    "attention": {"query_key_value", "attention_output", "query_norm_weight", "key_norm_weight"},
    "mlp": {"mlp_input", "mlp_output"},
    "head and loss": {"head"},
    "norms": set[str](),
}


@pytest.mark.parametrize("group", MATTERS)
def test_parts_left_out_have_no_effect(group: str) -> None:
    losses = []

    def unused(kept: frozenset[str]) -> set[str]:
        # Without the optimizer a step ends with the gradients.
        loss, *gradients = PartialStep(CONFIG, kept - {"optimizer"}, compiled=False)(state(), BATCH)
        losses.append(loss.item())
        names = parameter_specs(CONFIG.model)
        return {n for n, gradient in zip(names, gradients, strict=True) if not mx.any(gradient != 0).item()}

    assert unused(ALL) == set()
    assert unused(ALL - {group}) == MATTERS[group]
    assert unused(frozenset({group})) == set().union(*(MATTERS[other] for other in MATTERS if other != group))
    assert losses[0] != losses[1]


def account(step_s: float = 11.6e-3, data_s: float = 1e-4, slower: float = 0.0, **others: Any) -> Profile:
    """Of durations in which each group takes its own time, of 2 ms each, wherever it is.

    Five groups, 1 ms of the rest, 0.5 ms of the host and the data add up to 11.6 ms.
    """
    sets = [ALL, NOTHING, *(ALL - {g} for g in GROUPS), *(frozenset({g}) for g in GROUPS)]
    drift = np.linspace(0, slower, 5)
    durations: dict[Any, np.ndarray] = {"step": step_s + drift, "data": np.full(5, data_s)}
    for kept in sets:
        durations["run", kept] = 1e-3 + 5e-4 + 2e-3 * len(kept) + drift
        durations["host", kept] = np.full(5, 5e-4)
    return profiling._account(others.get("config", CONFIG), durations, others.get("peaks", PEAKS), False)


def test_an_account_adds_up() -> None:
    found = account()
    groups = found.groups
    for name in GROUPS:
        for key in ("alone_s", "left_out_s", "time_s"):
            assert getattr(groups[name], key) == pytest.approx(2e-3)
    assert groups["embedding and stream"].time_s == pytest.approx(1e-3)
    assert groups["host"].time_s == pytest.approx(5e-4) and groups["data"].time_s == pytest.approx(1e-4)
    assert groups["other"].time_s == pytest.approx(0, abs=1e-9) and found.adds_up
    # Without the residual, which makes any account add up.
    assert sum(group.share for name, group in groups.items() if name != "other") == pytest.approx(1)
    assert groups["mlp"].share == pytest.approx(2 / 11.6) and found.data_within
    assert found.tokens_per_s == pytest.approx(160 / 11.6e-3)
    assert from_plain(Profile, json.loads(to_json(found))) == found


def test_shares_of_the_peak_are_of_the_groups_own_type() -> None:
    peaks = replace(PEAKS, matmul_flops_per_s={"float32": 1e11, "bfloat16": 4e11})
    config = replace(CONFIG, train=replace(CONFIG.train, dtype="bfloat16"))
    groups = account(config=config, peaks=peaks).groups
    for name, peak in (("mlp", 4e11), ("optimizer", 1e11)):
        assert groups[name].share_of_peak == pytest.approx(groups[name].flops / 2e-3 / peak)


@pytest.mark.parametrize(("step_ms", "adds_up"), [(12.8, True), (13.0, False), (10.6, True), (10.4, False)])
def test_unexplained_time_is_reported_as_other(step_ms: float, adds_up: bool) -> None:
    found = account(step_ms / 1e3)
    assert found.adds_up is adds_up and found.unexplained_s == found.groups["other"].time_s
    assert found.unexplained_s == pytest.approx(step_ms / 1e3 - 11.6e-3)


def test_data_may_take_a_hundredth_of_a_step() -> None:
    assert [account(12e-3, data_s=data_s).data_within for data_s in (1.1e-4, 1.3e-4)] == [True, False]


def test_a_machine_that_slows_down_does_not_change_the_differences() -> None:
    found = account(slower=0.1)
    assert found.groups["mlp"].time_s == pytest.approx(2e-3) and found.step_s.overloaded


def test_launches_of_groups_left_out_are_about_those_of_groups_alone() -> None:
    found, implementations = profiling._launches(CONFIG), step_implementations(CONFIG, device=mac())

    def count(kept: frozenset[str]) -> int:
        return step_launches(CONFIG, PartialStep(CONFIG, kept, compiled=False, implementations=implementations))

    nothing = count(NOTHING)
    # Elementwise chains at the borders of groups are fused with the one or the other.
    assert found["embedding and stream"] == pytest.approx(nothing, abs=8)
    for name in GROUPS:
        assert found[name] == pytest.approx(count(frozenset({name})) - nothing, abs=8) and found[name] > 0
    # Two layers with two norms each and two more, a launch each way.
    assert found["norms"] == 2 * (2 * 2 + 2)


def test_flops_are_the_models_and_elementwise_work_beside_them() -> None:
    costs, c = profiling.costs(CONFIG), CONFIG.model
    assert set(costs) == set(GROUPS)
    products = sum(costs[name]["flops"] for name in ("attention", "mlp", "head and loss"))
    elementwise = 21 * 160 * (c.heads + c.key_value_heads) * c.head_width * c.layers
    assert products - elementwise == pytest.approx(160 * training_flops_per_token(c))
    for optimizer in ("muon", "adamw"):
        changed = replace(CONFIG, optimizer=replace(CONFIG.optimizer, matrix_optimizer=optimizer))
        moved = profiling.costs(changed)["optimizer"]["least_bytes"]
        assert moved >= 4 * 5 * sum(spec.size for spec in parameter_specs(c).values())


def test_a_step_is_profiled() -> None:
    told: list[str] = []
    found = profiling.profile(CONFIG, PEAKS, seconds=0, tell=told.append)
    assert set(found.groups) == {*GROUPS, "embedding and stream", "data", "host", "other"}
    assert found.step_s.median > 0 and found.launches > 100 and not found.compiled and len(told) == 2
    assert from_plain(Profile, json.loads(to_json(found))) == found


def test_data_is_read_from_a_mapped_file_as_in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    right = stream.BatchStream

    def remember(tokens: Any, **others: Any) -> Any:
        given.append(tokens)
        return right(tokens, **others)

    monkeypatch.setattr(stream, "BatchStream", remember)
    shape = stream.mapped_stream(CONFIG).next_batch().shape
    assert isinstance(given[0], np.memmap) and given[0].mode == "r" and given[0].max() < 520 and shape == (4, 41)


def test_a_preset_too_large_is_refused_before_its_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "PartialStep", lambda *_, **__: pytest.fail("a step is made"))
    slow = replace(PEAKS, matmul_flops_per_s={"float32": 1e6})
    with pytest.raises(TinyError, match=r"micro is too long .*at most 3 s.*got at least \d+\.\d s.*smaller --preset"):
        profiling.profile(CONFIG, slow, seconds=0)


def test_a_step_that_takes_too_long_is_refused_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "_LONGEST_STEP_S", 1e-4)
    fast = replace(PEAKS, matmul_flops_per_s={"float32": 1e15})
    taken: list[frozenset[str]] = []
    right = PartialStep.__call__
    monkeypatch.setattr(PartialStep, "__call__", lambda self, *a: taken.append(self.kept) or right(self, *a))
    with pytest.raises(TinyError, match=r"got \d+\.\d s"):
        profiling.profile(CONFIG, fast, seconds=0)
    assert taken == [ALL, ALL]


class SlowingStep:
    """A step that becomes slower after some seconds of a clock that it moves itself."""

    now = 0.0

    def __init__(self, config: RunConfig, *, compiled: bool) -> None:
        SlowingStep.now = 0.0

    def initial_state(self) -> TrainingState:
        return TrainingState({}, {})

    def __call__(self, state: TrainingState, *_: Any) -> tuple[TrainingState, mx.array]:
        SlowingStep.now += 0.1 if SlowingStep.now < 30 else 0.2
        return state, mx.array(0.0)


@pytest.mark.parametrize(("seconds", "window", "ratio"), [(60.0, 10.0, 0.5), (15.0, 5.0, 1.0)])
def test_drift_compares_the_ends(monkeypatch: pytest.MonkeyPatch, seconds: float, window: float, ratio: float) -> None:
    monkeypatch.setattr(drift, "TrainingStep", SlowingStep)
    found = drift.drift(CONFIG, seconds, clock=lambda: SlowingStep.now)
    assert found.ends_s == window and found.seconds == pytest.approx(seconds, abs=0.2)
    assert found.first_tokens_per_s == pytest.approx(1600)
    assert found.ratio == pytest.approx(ratio) and found.throttled is (ratio < 0.9)
    assert len(found.tokens_per_s) == int(found.seconds) and found.tokens_per_s[0] == pytest.approx(1600)


def test_a_step_across_a_moment_counts_by_its_part() -> None:
    # Steps end at 1, 3 and 4: until 2 there were one and a half.
    assert drift._rate([1.0, 3.0, 4.0], 0.0, 2.0) == pytest.approx(0.75)
    assert drift._rate([1.0, 3.0, 4.0], 2.0, 4.0) == pytest.approx(0.75)


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pretends a Metal GPU that can be recorded, and notes what happens to the recording."""
    events: list[str] = []
    monkeypatch.setattr(metal, "why_not_metal", lambda: None)
    monkeypatch.setenv("MTL_CAPTURE_ENABLED", "1")
    monkeypatch.setattr(mx.metal, "start_capture", lambda path: events.append(Path(path).name))
    monkeypatch.setattr(mx.metal, "stop_capture", lambda: events.append("end"))
    return events


def test_a_trace_needs_metal_a_name_and_permission(
    recording: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MTL_CAPTURE_ENABLED")
    (tmp_path / "there.gputrace").mkdir()
    for name in ("a.trace", "there.gputrace"):
        with pytest.raises(TinyError, match=r"a name that ends in \.gputrace, of a file that does not exist"):
            profiling.trace(CONFIG, tmp_path / name)
    with pytest.raises(TinyError, match="MTL_CAPTURE_ENABLED=1 mlx-tiny profile --preset micro --trace"):
        profiling.trace(CONFIG, tmp_path / "a.gputrace")
    monkeypatch.setattr(metal, "why_not_metal", lambda: "no GPU in a test")
    with pytest.raises(TinyError, match=r"cannot be recorded here.*a Mac with Apple silicon, got no GPU in a test"):
        profiling.trace(CONFIG, tmp_path / "a.gputrace")
    assert recording == []


@pytest.mark.parametrize("fails", [False, True])
def test_a_trace_holds_one_step_after_a_warm_up_and_ends_where_that_fails(
    recording: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fails: bool
) -> None:
    class Recorded(SlowingStep):
        def __call__(self, state: TrainingState, *_: Any) -> tuple[TrainingState, mx.array]:
            recording.append("step")
            if fails and len(recording) > 1:
                raise RuntimeError("[METAL] Command buffer execution failed")
            return state, mx.array(0.0)

    monkeypatch.setattr(profiling, "TrainingStep", Recorded)
    with pytest.raises(RuntimeError, match="Command buffer") if fails else contextlib.nullcontext():
        profiling.trace(CONFIG, tmp_path / "a.gputrace")
    assert recording == ["step", "a.gputrace", "step", "end"]
