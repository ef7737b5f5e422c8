"""Batches that grow: which tokens and shapes a step gets, and that a run with them resumes exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import (
    assert_same_runs,
    create_run,
    tiny_config,
    tiny_trainer,
    tokens,
    train_whole,
)

from mlx_tiny.config import ModelConfig, RunConfig, TrainConfig
from mlx_tiny.data.batches import BatchStream
from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.training.growth import batch_at, stages


def config_of(context: int = 16, batch_size: int = 8, **train: Any) -> RunConfig:
    return RunConfig(model=ModelConfig(context=context), train=TrainConfig(batch_size=batch_size, **train))


def stream_of(config: RunConfig, length: int = 1000) -> BatchStream:
    size, context = config.train.batch_size, config.model.context
    return BatchStream(np.arange(length, dtype=np.uint16), batch_size=size, context=context, seed=0)


@pytest.mark.parametrize(
    ("fraction", "short", "small"),
    [(0.0, (32, 4), (2, 16)), (0.2, (16, 8), (4, 16)), (0.4, (8, 16), (8, 16)), (1.1, (8, 16), (8, 16))],
)
def test_batches_grow_in_three_stages(fraction: float, short: tuple[int, int], small: tuple[int, int]) -> None:
    for setting, (sequences, length) in {"short_sequences": short, "small_batches": small}.items():
        chosen: dict[str, Any] = {setting: 0.4}
        config = config_of(**chosen)
        assert batch_at(stream_of(config), config, fraction).shape == (sequences, length + 1)
        assert stages(config) == [0.0, 0.2, 0.4]
    assert stages(config_of()) == [0.0]


@given(
    context=st.integers(1, 10).map(lambda number: 4 * number), batch_size=st.integers(1, 9), fraction=st.floats(0, 1)
)
def test_short_sequences_predict_the_same_tokens(context: int, batch_size: int, fraction: float) -> None:
    whole, cut = config_of(context, batch_size), config_of(context, batch_size, short_sequences=0.6)
    expected, got = batch_at(stream_of(whole), whole, fraction), batch_at(stream_of(cut), cut, fraction)
    assert np.array_equal(got[:, 1:].ravel(), expected[:, 1:].ravel())
    assert np.array_equal(got[:, :-1].ravel(), expected[:, :-1].ravel())


@pytest.mark.parametrize(("batch_size", "micro_batches"), [(2, 1), (3, 1), (6, 3), (6, 2), (16, 4)])
def test_a_small_batch_can_be_computed_in_the_parts_of_a_whole_one(batch_size: int, micro_batches: int) -> None:
    config = config_of(batch_size=batch_size, micro_batches=micro_batches, small_batches=0.5)
    sizes = [len(batch_at(stream_of(config), config, fraction)) for fraction in (0, 0.25, 0.5)]
    assert sizes == sorted(sizes) and sizes[-1] == batch_size
    assert all(size >= micro_batches and size % micro_batches == 0 for size in sizes)


@pytest.mark.parametrize(
    ("shape", "growing"),
    [
        ({"context": 63}, {"short_sequences": 0.5}),
        ({"context": 2}, {"short_sequences": 1.0}),
        ({"batch_size": 1}, {"small_batches": 0.5}),
        ({"batch_size": 4}, {"small_batches": 0.5, "micro_batches": 4}),
    ],
)
def test_growth_that_would_do_nothing_is_refused(shape: dict[str, int], growing: dict[str, Any]) -> None:
    with pytest.raises(TinyError, match=next(iter(growing))):
        config_of(**shape, **growing)


def test_the_account_is_charged_with_what_each_step_took(tmp_path: Path) -> None:
    growing: dict[str, Any] = {"short_sequences": 0.5, "small_batches": 0.25}
    run, _, recorder = train_whole(tmp_path / "run", tiny_config(tmp_path, budget=tokens(8), evaluations=2, **growing))
    spent = np.diff([0, *(record.tokens for record in recorder.steps)])
    assert spent.tolist() == [32] * 4 + [64] * 2 + [128] * 6
    model = run.config.model
    lengths = [8] * 6 + [16] * 2 + [32] * 4
    expected = [n * training_flops_per_token(replace(model, context=T)) for n, T in zip(spent, lengths, strict=True)]
    assert np.diff([0.0, *(record.flops for record in recorder.steps)]) == pytest.approx(expected)


class _Stopped(Exception):
    pass


def test_a_broken_run_equals_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growing: dict[str, Any] = {"short_sequences": 0.8, "small_batches": 0.5, "order": "documents", "checkpoints": 3}
    config = tiny_config(tmp_path, budget=tokens(12), **growing)
    whole, _, _ = train_whole(tmp_path / "whole", config)
    broken = create_run(tmp_path / "broken", config)
    first = tiny_trainer(broken)
    step = first._one_step

    def stopping() -> None:
        if first.budget.fraction > 0.6:
            raise _Stopped
        step()

    monkeypatch.setattr(first, "_one_step", stopping)
    with pytest.raises(_Stopped):
        first.train()
    second = tiny_trainer(broken, resume=True)
    assert 0 < second.budget.fraction < 0.6
    second.train()
    assert_same_runs(whole, broken)
