"""The plan shows what a budget buys of each size, and marks what training takes with the same options."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study.planted import LAW

from mlx_tiny.cli.train_command import _planned
from mlx_tiny.config import DataConfig, RunConfig
from mlx_tiny.config.presets import STRONGEST, ladder
from mlx_tiny.data.generated import StoriesSource
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.study import plan, speed

from .command_line import call, succeeded

NAMES = [preset.name for preset in ladder(STRONGEST)]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(config: RunConfig, _: object) -> float:
        return 40e9 / training_flops_per_token(config.model)

    monkeypatch.setattr(speed, "measured_tokens_per_s", measure)
    monkeypatch.setattr(plan, "little_bytes", lambda: 1 << 40)


def planned(*arguments: str) -> dict[str, Any]:
    return dict(json.loads(succeeded(call("plan", *arguments, "--json")).out))


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("budget", ["5m", "20Mtok", "1e14flop"])
def test_training_takes_what_is_marked(budget: str) -> None:
    shown = planned("--budget", budget, "--data", "stories")
    asked: dict[str, dict[str, Any]] = {name: {} for name in ("data", "model", "optimizer", "schedule")}
    config, reason = _planned({**asked, "train": {"budget": budget}}, StoriesSource(DataConfig()))
    assert (shown["preset"], shown["reason"]) == (config.train.preset, reason)
    assert [size["preset"] for size in shown["sizes"]] == NAMES
    (marked,) = [
        line for line in call("plan", "--budget", budget, "--data", "stories").out.splitlines() if "* " in line[:60]
    ]
    assert marked.split()[0] == shown["preset"].rpartition("-")[2]


@pytest.mark.usefixtures("place")
def test_tokens_and_seconds_are_those_of_the_measured_speed() -> None:
    by_flops = planned("--budget", "1e12flop", "--data", "stories")["sizes"]
    for preset, size in zip(ladder(STRONGEST), by_flops, strict=True):
        training_s = size["seconds"] - speed.pauses_s(preset.config(), size["tokens_per_s"])
        assert size["tokens_per_s"] * training_s == pytest.approx(size["tokens"])
        assert training_s == pytest.approx(25)
    quick = [size["measured"] for size in by_flops]
    assert quick[0] and quick == sorted(quick, reverse=True), "large sizes take too long to be measured"


@pytest.mark.usefixtures("place")
def test_bits_per_byte_are_shown_only_of_the_text_of_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "law_for", lambda *_: replace(LAW, text="stories"))
    first = planned("--data", "stories")["sizes"][0]["expectation"]
    assert first["low"] < first["bits_per_byte"] < first["high"]
    assert all(size["expectation"] is None for size in planned("--data", "stories", "--width", "32")["sizes"])


@pytest.mark.usefixtures("place")
def test_a_named_size_is_marked_as_asked() -> None:
    assert planned("--preset", "portable-small", "--data", "stories")["preset"] == "portable-small"


def test_a_preset_of_one_size_is_refused(place: Path) -> None:
    finished = call("plan", "--preset", "events", "--data", "stories")
    assert finished.code == 1 and "one size" in finished.err
