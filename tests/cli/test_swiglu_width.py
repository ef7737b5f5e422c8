"""SwiGLU without a hidden width has as many parameters as the preset, and the header says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_tiny.config.presets import STRONGEST, Preset, presets_of
from mlx_tiny.model.parameters import parameter_specs

from .command_line import FEW_PAUSES, TINY, call, succeeded, workplace, write_notes


@pytest.mark.parametrize("preset", presets_of(STRONGEST), ids=lambda preset: preset.name)
def test_its_matrices_are_as_large_as_those_of_relu2(preset: Preset) -> None:
    def mlp(activation: str) -> int:
        model = preset.config({"model": {"activation": activation}}).model
        assert model.hidden % 8 == 0
        specs = parameter_specs(model)
        return specs["mlp_input"].size + specs["mlp_output"].size

    assert mlp("swiglu") == pytest.approx(mlp("relu2"), rel=0.02)


@pytest.mark.parametrize(
    ("flags", "hidden", "told"),
    [
        (("--activation", "swiglu"), 168, ""),
        (("--activation", "swiglu", "--hidden", "96"), 96, "hidden 96"),
        (("--activation", "relu2"), 256, "hidden 256"),
    ],
)
def test_the_header_reports_a_changed_hidden_width(tmp_path: Path, flags, hidden: int, told: str) -> None:
    with workplace(tmp_path):
        notes = ("--data", write_notes(tmp_path / "notes.txt"), "--budget", "200tok", "--run", "r")
        finished = succeeded(call("train", *TINY, *FEW_PAUSES, *notes, *flags))
        assert json.loads(Path("r/config.json").read_text())["config"]["model"]["hidden"] == hidden
    (line,) = (line for line in finished.err.splitlines() if line.startswith("unlike the preset: "))
    assert told in line and ("hidden" in line) == bool(told)
