"""Speed is that of steps, without compilation; between sizes that were measured it is interpolated by FLOPs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_run import MODEL

from mlx_tiny.config import RunConfig, TrainConfig
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.study import speed
from mlx_tiny.study.speed import Speeds, measured_tokens_per_s, pauses_s

CONFIG = RunConfig(model=MODEL, train=TrainConfig(batch_size=4, compile=False))


def test_the_median_step_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step compiles; by a made-up clock, three more take half, a quarter and three quarters of a second."""
    monkeypatch.setattr(speed, "_MEASURED_SECONDS", 1.0)
    clock = iter([0.0, 9.0, 9.0, 9.5, 10.0, 10.0, 10.25, 10.25, 10.25, 11.0, 11.0])
    monkeypatch.setattr(speed.time, "monotonic", lambda: next(clock))
    assert measured_tokens_per_s(CONFIG) == pytest.approx(4 * MODEL.context / 0.5)


def test_quick_steps_are_started_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_MEASURED_SECONDS", 0.01)
    assert measured_tokens_per_s(CONFIG) > 4 * MODEL.context / speed._TOGETHER_S


def test_other_speeds_follow_from_those_that_were_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [replace(CONFIG, model=replace(MODEL, hidden=hidden)) for hidden in (32, 64, 128, 256)]
    flops = [training_flops_per_token(config.model) for config in configs]
    rates = {configs[0]: 1e9, configs[2]: 4e9}
    monkeypatch.setattr(
        speed, "measured_tokens_per_s", lambda config, _: rates[config] / training_flops_per_token(config.model)
    )
    speeds = Speeds()
    speeds.measure(configs[0])
    assert speeds.tokens_per_s(configs[3]) == pytest.approx(1e9 / flops[3])
    speeds.measure(configs[2])
    share = math.log(flops[1] / flops[0]) / math.log(flops[2] / flops[0])
    assert speeds.tokens_per_s(configs[1]) == pytest.approx(1e9 * 4**share / flops[1])
    assert speeds.tokens_per_s(configs[3]) == pytest.approx(4e9 / flops[3])
    assert [speeds.is_measured(config) for config in configs] == [True, False, True, False]


def test_pauses_are_those_of_evaluations_and_samples() -> None:
    train = TrainConfig(evaluations=5, evaluation_tokens=3000, samples=2)
    config = replace(CONFIG, train=train)
    assert pauses_s(config, 1000.0) == pytest.approx(4 * 3000 / 3000 + 2 * 60 * 30 / 1000)
    assert pauses_s(replace(CONFIG, train=replace(train, evaluations=1, samples=0)), 1000.0) == 0


def test_what_was_measured_undisturbed_is_kept_for_the_next_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(speed, "commit", lambda: "1234")
    rates = iter(range(100, 1000, 100))
    monkeypatch.setattr(speed, "measured_tokens_per_s", lambda config, _: next(rates))
    other = replace(CONFIG, train=replace(CONFIG.train, batch_size=2))
    assert Speeds().measure(CONFIG) == 100  # disturbed
    monkeypatch.setattr(speed, "is_busy", lambda cores: False)
    assert [Speeds().measure(CONFIG), Speeds().measure(other), Speeds().measure(CONFIG)] == [200, 300, 200]
    assert [Speeds(anew=True).measure(CONFIG), Speeds().measure(CONFIG)] == [400, 400]
    monkeypatch.setattr(speed, "commit", lambda: "1234+changes")
    assert [Speeds().measure(CONFIG), Speeds().measure(CONFIG)] == [500, 600]
    monkeypatch.setattr(speed, "commit", lambda: "1234")
    (tmp_path / "home" / "speeds.json").write_text("{}")
    assert [Speeds().measure(CONFIG), Speeds().measure(CONFIG)] == [700, 700]
