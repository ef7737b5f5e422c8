"""`bench step`: competitors take turns, and are checked before they are timed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_tiny.bench import step, worker
from mlx_tiny.bench.competitor import Competitor
from mlx_tiny.bench.record import FAILED, WRONG, Result
from mlx_tiny.bench.step import expected_losses
from mlx_tiny.bench.weights import nonzero_weights
from mlx_tiny.bench.worker import on_cores
from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.linux import lanes as runtime
from mlx_tiny.machine.hardware import usable_cores
from mlx_tiny.model import options
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.ops.operation import Implementation
from mlx_tiny.ops.registry import OPERATIONS
from mlx_tiny.records import to_plain

from .micro import MICRO, PEAKS, timed

TORCH = pytest.mark.torch
OTHERS = ("torch", "torch tuned", "torch compiled", "reference")


def uncompiled(config: RunConfig) -> RunConfig:
    return replace(config, train=replace(config.train, compile=False))


def run(*competitors: str, change: Any = uncompiled, dtype: str = "float32", peaks: Any = PEAKS) -> dict[str, Result]:
    (records,) = step.run(["micro"], "float32", peaks, seconds=0, change=change, competitors=competitors)
    assert [record.implementation for record in records] == list(competitors)
    return {record.implementation: record for record in records}


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_TURN_S", 1e-3)


def test_the_step_of_training_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "why_no_torch", lambda: "PyTorch is not installed")
    found = run("mlx_tiny", *OTHERS)
    ours = found["mlx_tiny"]
    assert ours.reason is None, ours
    assert ours.tokens_per_s == pytest.approx(4 * 40 / ours.time_s.median)
    assert ours.share_of_bound == pytest.approx(
        ours.tokens_per_s * training_flops_per_token(MICRO.config().model) / 1e11
    )
    assert 100 < ours.launches < 500 and 1e7 < ours.peak_memory_bytes < 1e11
    assert ours.error <= 1 and ours.description.startswith("mlx ")
    assert ours.shape == "B4 T40 L2 D48 H4 G2 K32 F80 V520 muon"
    assert {found[name].reason for name in OTHERS} == {"PyTorch is not installed"}


def test_wrong_losses_have_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    right = step.expected_losses
    monkeypatch.setattr(step, "expected_losses", lambda *arguments: [1.001 * loss for loss in right(*arguments)])
    ours = run("mlx_tiny")["mlx_tiny"]
    assert ours.outcome == WRONG and "first losses" in ours.reason and ours.tokens_per_s is None


def test_a_competitor_that_cannot_start_has_a_reason() -> None:
    ours = run("mlx_tiny", change=lambda c: replace(c, train=replace(c.train, implementation="metal", compile=False)))
    if ours["mlx_tiny"].reason is None:
        pytest.skip("the Metal kernels run here")
    assert ours["mlx_tiny"].reason.startswith("failed: ") and "cannot be used here" in ours["mlx_tiny"].reason
    assert ours["mlx_tiny"].outcome == FAILED


class Doomed(Competitor):
    """A competitor that ends after some requests."""

    def __init__(self, lives: int) -> None:
        self.lives, self.peak_memory_bytes = lives, 1

    def take(self, steps: int) -> tuple[float, list[float]]:
        self.lives -= 1
        if self.lives < 0:
            raise TinyError("it ended with exit code -9; its last words were: Killed")
        return 0.1 * steps, [0.0] * steps


@pytest.mark.parametrize("lives", [0, 1, 3])
def test_one_that_dies_while_it_is_timed_has_a_reason_and_the_others_go_on(lives: int) -> None:
    running: dict[str, Competitor] = {"mlx_tiny": Doomed(99), "torch": Doomed(lives), "reference": Doomed(99)}
    results = {name: timed(implementation=name, time_s=None) for name in running}
    step._time(running, results, seconds=0)
    assert (results["torch"].outcome, results["torch"].time_s) == (FAILED, None)
    why = "failed while it was timed: it ended with exit code -9; its last words were: Killed"
    assert results["torch"].reason == why
    ours = results["mlx_tiny"]
    assert ours.time_s.median == pytest.approx(0.1) and ours.time_s.count == 5 and set(ours.speed_up) == {"reference"}


def test_nothing_is_timed_if_all_competitors_die() -> None:
    results = {"mlx_tiny": timed(time_s=None)}
    step._time({"mlx_tiny": Doomed(0)}, results, seconds=0)
    assert results["mlx_tiny"].outcome == FAILED


def test_expected_losses_ask_for_plain_operations_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("what is checked is asked")

    for operation in OPERATIONS.values():
        for name in set(operation.implementations) - {"plain"}:
            monkeypatch.setitem(operation.implementations, name, Implementation(refuse))
    config = MICRO.config()
    losses = expected_losses(config, nonzero_weights(config.model), worker.batches(config)[:2], 1.0, 0.95)
    assert len(losses) == 2 and losses[0] != losses[1]


@TORCH
@pytest.mark.parametrize("activation", ["swiglu", "relu2"])
def test_expected_losses_equal_the_reference_in_float64(activation: str) -> None:
    import torch

    from mlx_tiny.reference.step import initial_state, training_step

    config = MICRO.config()
    config = replace(config, model=replace(config.model, activation=activation))
    weights, batches = nonzero_weights(config.model), worker.batches(config)[:3]
    state, losses = initial_state(config, dtype=torch.float64), []
    state.parameters = {name: torch.from_numpy(weights[name]).double() for name in state.parameters}
    for batch in batches:
        state, loss = training_step(state, config, batch, 1.0, 0.95)
        losses.append(float(loss))
    np.testing.assert_allclose(expected_losses(config, weights, batches, 1.0, 0.95), losses, rtol=2e-6)


@pytest.mark.skipif(not runtime.on_cpu(), reason="cores are of the CPU")
@pytest.mark.usefixtures("all_cores")
def test_our_step_on_one_core_and_on_more(monkeypatch: pytest.MonkeyPatch) -> None:
    most = usable_cores()
    (records,) = step.run(["micro"], "float32", PEAKS, seconds=0, change=uncompiled, cores=[most])
    assert [record.implementation for record in records] == [on_cores(n) for n in sorted({1, most})]
    assert all(record.reason is None for record in records), records
    assert f", {most} lanes" in records[-1].description and ", 1 lanes" in records[0].description
    assert set(records[-1].speed_up) == {on_cores(1)} - {records[-1].implementation}


def test_what_would_take_minutes_is_left_out() -> None:
    slow = replace(PEAKS, matmul_flops_per_s={"float32": 1e3})
    assert "left out" in run("mlx_tiny", peaks=slow)["mlx_tiny"].reason


def test_weights_have_no_zeros_where_a_run_begins_with_them() -> None:
    weights = nonzero_weights(MICRO.config().model)
    assert all(array.any() and array.dtype == np.float32 for array in weights.values())
    assert 0.05 < weights["head"].std() < 0.5


def serve(config: RunConfig, folder: Path, competitor: str, steps: list[int]) -> list[dict[str, Any]]:
    """The answers of a competitor that runs in this process."""
    arrays: dict[str, Any] = nonzero_weights(config.model)
    np.savez(folder / "weights.npz", **arrays)
    answers: list[dict[str, Any]] = []
    request = {"competitor": competitor, "config": to_plain(config), "weights": str(folder / "weights.npz")}
    request |= {"products": "float32", "cores": None}
    worker.answer_requests(request, io.StringIO("".join(f"{count}\n" for count in steps)), answers.append)
    return answers


def test_a_worker_takes_the_requested_steps(tmp_path: Path) -> None:
    first, once, twice = serve(uncompiled(MICRO.config()), tmp_path, "mlx_tiny", [1, 2])
    assert "description" in first and "malloc" not in first["description"]
    assert len(once["losses"]) == 1 and len(twice["losses"]) == 2
    assert once["seconds"] > 0 and once["losses"][0] != twice["losses"][0]


# Clipped so far that AdamW's epsilon matters; otherwise neither optimizer would see the scale of a gradient.
@TORCH
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("competitor", ["torch", "reference"])
def test_torch_takes_the_same_steps(tmp_path: Path, competitor: str, optimizer: str) -> None:
    config = MICRO.config()
    config = uncompiled(
        replace(
            config, optimizer=replace(config.optimizer, matrix_optimizer=optimizer, clip_norm=1e-8, adamw_decay=0.1)
        )
    )
    ours, theirs = (serve(config, tmp_path, name, [6])[1]["losses"] for name in ("mlx_tiny", competitor))
    assert len(set(ours)) == 6
    np.testing.assert_allclose(theirs, ours, rtol=1e-4)


@TORCH
def test_competitors_are_compared_with_each_other() -> None:
    found = run("mlx_tiny", "torch tuned")
    ours, tuned = found.values()
    assert ours.reason is None and tuned.reason is None, found
    assert set(ours.speed_up) == {"torch tuned"}
    shown = ("malloc keeps large blocks", "fused norms and AdamW, Muon by banks", f"{usable_cores()} threads")
    assert all(words in tuned.description for words in ("fused attention", *shown))
    # Each has loaded what it needs, and no process the memory of another.
    assert tuned.peak_memory_bytes != ours.peak_memory_bytes
    if runtime.on_cpu():
        assert ours.peak_memory_bytes < tuned.peak_memory_bytes


@TORCH
def test_torch_rounds_products_where_mlx_does(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert worker._give_equal_terms("float32") == "" and asked == []
    assert worker._give_equal_terms("tf32") == "; float32 products in TF32" and asked == ["high"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert worker._give_equal_terms("tf32") == ""


@pytest.mark.torch
def test_a_model_with_options_has_no_step_in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "all_options", lambda: {"idea": options.Option("", valid=lambda *_: None)})
    config = MICRO.config()
    model = replace(config.model, options="idea=15")
    with pytest.raises(TinyError, match=r"no options of the model.*idea=15"):
        worker.of_torch(replace(config, model=model), nonzero_weights(model))
