"""A model is portable with SwiGLU and without options that qwen3 lacks."""

from __future__ import annotations

import pytest

from mlx_tiny.config import ModelConfig
from mlx_tiny.config.presets import PORTABLE, STRONGEST, Preset, presets_of
from mlx_tiny.model.options import all_options
from mlx_tiny.model.portable import obstacles


@pytest.mark.parametrize("preset", presets_of(PORTABLE), ids=lambda preset: preset.name)
def test_portable_presets_are_portable(preset: Preset) -> None:
    assert obstacles(preset.config().model) == {}


@pytest.mark.parametrize("preset", presets_of(STRONGEST), ids=lambda preset: preset.name)
def test_obstacles_are_named(preset: Preset) -> None:
    found = obstacles(preset.config().model)
    assert found["smear"] == all_options()["smear"].not_portable != ""
    assert "activation relu2" in obstacles(preset.config({"model": {"activation": "relu2"}}).model)
    assert list(obstacles(ModelConfig())) == ["activation relu2"]


def test_the_epsilon_of_the_norms_has_to_be_lost_in_rounding() -> None:
    assert list(obstacles(ModelConfig(activation="swiglu", norm_epsilon=1e-3))) == ["norm epsilon 0.001"]
