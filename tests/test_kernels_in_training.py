"""Training with the Metal kernels: which operations they serve, and the same losses as without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal
from numeric import assert_close

from mlx_tiny.config import ModelConfig, RunConfig, TrainConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.ops import dispatch, metal
from mlx_tiny.training.backend import MlxBackend
from mlx_tiny.training.step import TrainingStep

MODEL = ModelConfig(
    vocabulary_size=512, context=40, layers=2, width=64, heads=2, key_value_heads=1, head_width=32, hidden=96
)
STEPS, BATCH = 20, 2


@pytest.fixture(autouse=True)
def no_verdicts() -> Iterator[None]:
    with mock.patch.dict(dispatch._verdicts, clear=True):
        yield


def config(**train: object) -> RunConfig:
    return RunConfig(model=MODEL, train=TrainConfig(batch_size=BATCH, compile=False, **train))


def losses(implementation: str, dtype: str = "float32") -> list[float]:
    step = TrainingStep(config(attention=implementation, muon=implementation, dtype=dtype), compiled=False)
    state, found = step.initial_state(), []
    generator = np.random.default_rng(0)
    batches = generator.integers(0, MODEL.vocabulary_size, (4, BATCH, MODEL.context + 1)).astype(np.int32)
    for number in range(STEPS):
        state, loss = step(state, batches[number % 4], (number + 1) / STEPS, 0.9)
        found.append(loss.item())
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_twenty_steps_have_the_same_losses(dtype: str) -> None:
    with emulated_metal() as launches:
        mine = losses("metal", dtype)
    plain = losses("plain", dtype)
    # Learned by heart, so that the losses say something: without training they would stay near ln 512 = 6.2.
    assert plain[-1] < 0.8 * plain[0]
    operation = "training with kernels" if dtype == "float32" else "training losses"
    assert_close(np.array(mine), np.array(plain), operation, dtype)
    counts = Counter(launch.name for launch in launches)
    # Once a layer and lane, at every step.
    assert counts["attention_forward"] % (MODEL.layers * STEPS) == 0 < counts["attention_forward"]
    for name in (
        "attention_backward_query",
        "attention_backward_key_value",
        "qk_norm_rope_forward",
        "qk_norm_rope_backward",
    ):
        assert counts[name] == counts["attention_forward"]
    assert counts["muon_pack"] == STEPS
    assert counts["symmetric_product"] > 0


def test_auto_takes_the_kernels_on_a_mac_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "generation_here", lambda: 3)
    said: list[str] = []
    with emulated_metal() as launches:
        backend = MlxBackend(config(), said.append)
        state, loss = backend.step(backend.initial_state(), np.zeros((BATCH, MODEL.context + 1), np.int32), 1.0, 0.9)
        mx.eval(loss, state.arrays())
    assert {"attention_forward", "qk_norm_rope_backward", "muon_pack"} <= {launch.name for launch in launches}
    for operation in ("attention", "QK-norm and rotary positions", "Muon"):
        assert [line for line in said if line.startswith(f"{operation}: metal (")], said


def test_evaluation_takes_what_the_steps_take() -> None:
    tokens = np.arange(100, dtype=np.uint16)
    results = []
    for implementation in ("metal", "plain"):
        with emulated_metal() as launches:
            backend = MlxBackend(config(attention=implementation, muon="plain"))
            results.append(backend.evaluate(backend.initial_state(), tokens, None))
        assert bool(launches) == (implementation == "metal")
    (nats, count), (plain_nats, plain_count) = results
    assert count == plain_count == 99
    assert_close(np.array(nats), np.array(plain_nats), "model", "float32")


def test_auto_leaves_the_kernels_alone_elsewhere() -> None:
    said: list[str] = []
    with mock.patch.object(metal, "why_not_metal", return_value="no Metal here"):
        step = TrainingStep(config(), compiled=False)
        MlxBackend(config(), said.append)
    assert all(choice.implementation != "metal" for choice in step.choices.values())
    assert any(line.startswith("attention: ") for line in said)


def test_what_is_asked_for_is_taken() -> None:
    with emulated_metal():
        step = TrainingStep(config(attention="mlx", muon="plain"), compiled=False)
    assert {name: choice.implementation for name, choice in step.choices.items()} == {
        "attention": "mlx",
        "QK-norm and rotary positions": "plain",
        "Muon": "plain",
    }
    assert {choice.reason for choice in step.choices.values()} == {"as asked"}


@pytest.mark.parametrize("asked", [{"attention": "metal"}, {"muon": "metal"}])
def test_metal_where_there_is_none_is_refused_before_the_first_step(asked: dict[str, str]) -> None:
    with (
        mock.patch.object(metal, "why_not_metal", return_value="this machine has no Metal GPU"),
        pytest.raises(TinyError, match="no Metal GPU"),
    ):
        TrainingStep(config(**asked), compiled=False)


def test_a_head_width_that_the_kernels_do_not_take_is_refused_before_the_first_step() -> None:
    narrow = replace(config(attention="metal"), model=replace(MODEL, head_width=24))
    with emulated_metal(), pytest.raises(TinyError, match=r"a head width K of 32, 48.*got 24"):
        TrainingStep(narrow, compiled=False)


@pytest.mark.parametrize(("name", "value"), [("attention", "flash"), ("muon", "mlx")])
def test_an_unknown_implementation_is_refused(name: str, value: str) -> None:
    with pytest.raises(TinyError, match=rf"setting {name} is out of range.*auto or plain or metal.*got '{value}'"):
        TrainConfig(**{name: value})
