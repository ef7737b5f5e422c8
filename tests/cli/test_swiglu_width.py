"""SwiGLU without a hidden width has as many parameters as the preset, and the header says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mlx_tiny.cli import train_command
from mlx_tiny.config import ModelConfig
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.records import to_plain
from mlx_tiny.study.plan import PRESETS

from .command_line import FEW_PAUSES, TINY, call, succeeded, workplace, write_notes


@pytest.mark.parametrize("name", PRESETS)
def test_its_matrices_are_as_large_as_those_of_the_preset(name: str) -> None:
    model = PRESETS[name].model_config()
    values = to_plain(model)
    assert f"hidden {round(model.hidden * 2 / 24) * 8}:" in train_command._fit_swiglu(values, {"activation": "swiglu"})
    wide = replace(model, activation="swiglu", hidden=values["hidden"])

    def mlp(config: ModelConfig) -> int:
        specs = parameter_specs(config)
        return specs["mlp_input"].size + specs["mlp_output"].size

    assert values["hidden"] % 8 == 0 and mlp(wide) == pytest.approx(mlp(model), rel=0.02)


@pytest.mark.parametrize(
    ("flags", "hidden", "told"),
    [
        (("--activation", "swiglu"), 168, "hidden 168"),
        (("--activation", "swiglu", "--hidden", "96"), 96, ""),
        (("--activation", "relu2"), 256, ""),
    ],
)
def test_the_header_reports_a_changed_hidden_width(tmp_path: Path, flags, hidden: int, told: str) -> None:
    with workplace(tmp_path):
        notes = ("--data", write_notes(tmp_path / "notes.txt"), "--budget", "200tok", "--run", "r")
        finished = succeeded(call("train", *TINY, *FEW_PAUSES, *notes, *flags))
        assert json.loads(Path("r/config.json").read_text())["config"]["model"]["hidden"] == hidden
    (line,) = (line for line in finished.err.splitlines() if line.startswith("preset: "))
    assert line.startswith("preset: tiny (as asked") and told in line and ("hidden" in line) == bool(told)
