"""Training with the Metal kernels: which operations they compute, and the same losses as without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from emulator import emulated_metal
from numeric import assert_close

from mlx_tiny.config import ModelConfig, RunConfig, TrainConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.ops import operation
from mlx_tiny.ops.implementations import forget_verdicts
from mlx_tiny.training.backend import MlxBackend
from mlx_tiny.training.step import TrainingStep

MODEL = ModelConfig(
    vocabulary_size=512, context=40, layers=2, width=64, heads=2, key_value_heads=1, head_width=32, hidden=96
)
STEPS, BATCH = 10, 2


@pytest.fixture(autouse=True)
def no_verdicts() -> Iterator[None]:
    forget_verdicts()
    yield
    forget_verdicts()


def config(**train: Any) -> RunConfig:
    return RunConfig(model=MODEL, train=TrainConfig(batch_size=BATCH, compile=False, **train))


def losses(implementation: str, dtype: str = "float32") -> list[float]:
    step = TrainingStep(config(implementation=implementation, dtype=dtype), compiled=False)
    state, found = step.initial_state(), []
    generator = np.random.default_rng(0)
    batches = generator.integers(0, MODEL.vocabulary_size, (4, BATCH, MODEL.context + 1)).astype(np.int32)
    for number in range(STEPS):
        state, loss = step(state, batches[number % 4], (number + 1) / STEPS, 0.9)
        found.append(float(loss))
    return found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ten_steps_have_the_same_losses(dtype: str) -> None:
    with emulated_metal() as launches:
        mine = losses("metal", dtype)
    plain = losses("plain", dtype)
    # Learned by heart, so that the losses say something: without training they would stay near ln 512 = 6.2.
    assert plain[-1] < 0.8 * plain[0]
    entry = "training with kernels" if dtype == "float32" else "training losses"
    assert_close(np.array(mine), np.array(plain), entry, dtype)
    counts = Counter(launch.name for launch in launches)
    # Once per layer and lane, at every step.
    assert counts["attention_forward"] % (MODEL.layers * STEPS) == 0 < counts["attention_forward"]
    for name in ("attention_backward_query", "attention_backward_key_value", "qk_norm_rope_forward"):
        assert counts[name] == counts["qk_norm_rope_backward"] == counts["attention_forward"]
    assert counts["muon_pack"] == STEPS
    assert counts["symmetric_product"] > 0


def test_auto_takes_the_kernels_on_a_mac_which_is_nothing_unusual_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "generation_here", lambda: 3)
    told: list[str] = []
    with emulated_metal() as launches:
        backend = MlxBackend(config(), told.append)
        state, loss = backend.step(backend.initial_state(), np.zeros((BATCH, MODEL.context + 1), np.int32), 1.0, 0.9)
        mx.eval(loss, state.arrays())
    assert {"attention_forward", "qk_norm_rope_backward", "muon_pack"} <= {launch.name for launch in launches}
    chosen = backend.implementations
    assert {chosen[name] for name in ("attention", "qk_norm_rope", "muon")} == {"metal"}
    assert not [line for line in told if "implementations" in line]


def test_evaluation_uses_the_implementations_of_the_steps() -> None:
    tokens, results = np.arange(100, dtype=np.uint16), []
    for implementation in ("metal", "plain"):
        with emulated_metal() as launches:
            backend = MlxBackend(config(implementation=implementation))
            results.append(np.concatenate([*backend.token_nats(backend.initial_state(), tokens, None)]))
        assert bool(launches) == (implementation == "metal")
    nats, plain_nats = results
    assert nats.shape == (99,)
    assert_close(nats, plain_nats, "model", "float32")


def test_implementations_that_cannot_run_are_refused_before_the_first_step() -> None:
    narrow = replace(config(implementation="metal"), model=replace(MODEL, head_width=24))
    with emulated_metal(), pytest.raises(TinyError, match=r"a head width K of 32, 48.*K = 24"):
        TrainingStep(narrow, compiled=False)
