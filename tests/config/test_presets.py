"""Presets have the names that `--preset` takes, and their settings give way to those of the user."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_tiny.config import RunConfig
from mlx_tiny.config.presets import (
    PRESETS,
    RECIPES,
    STRONGEST,
    Preset,
    Recipe,
    preset_called,
    presets_of,
    usual,
    whole_name,
)
from mlx_tiny.errors import TinyError
from mlx_tiny.records import from_plain, to_plain


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_whole_configuration(name: str) -> None:
    config = preset_called(name).config()
    assert from_plain(RunConfig, to_plain(config)) == config and usual(name) == config
    assert (config.train.preset, config.model.vocabulary_size) == (name, config.data.vocabulary_size)
    assert config.model.heads * config.model.head_width == config.model.width


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("auto", "strongest-auto"),
        ("mini", "strongest-mini"),
        ("strongest", "strongest-auto"),
        ("portable", "portable-auto"),
        ("portable-auto", "portable-auto"),
        ("portable-mini", "portable-mini"),
        ("strongest-large", "strongest-large"),
        ("events", "events"),
    ],
)
def test_either_part_of_a_name_may_be_left_out(text: str, name: str) -> None:
    assert whole_name(text) == whole_name(name) == name


@pytest.mark.parametrize("text", ["huge", "", "Tiny", "-", "mini-", "-mini", "portable-events", "mini-tiny"])
def test_an_unknown_preset_is_refused(text: str) -> None:
    with pytest.raises(TinyError, match=rf"Unknown preset {text!r}\. Expected .*auto, tiny, .*portable"):
        whole_name(text)


def test_a_preset_without_a_size_has_no_configuration() -> None:
    with pytest.raises(TinyError, match=r"portable.* no size"):
        preset_called("portable")


def test_a_run_with_a_preset_that_is_gone_is_compared_with_the_defaults() -> None:
    assert usual("mini") == RunConfig()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"layers": 3}, {"layers": 3, "options": "value_embeddings=3", "hidden": 344}),
        ({"options": "", "hidden": 90}, {"layers": 4, "options": "", "hidden": 90}),
        ({"activation": "relu2"}, {"hidden": 512, "options": "value_embeddings=4"}),
    ],
)
def test_what_follows_from_a_setting_follows_from_the_users(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    recipe = Recipe("r", "", {"model": {"activation": "swiglu", "options": "value_embeddings={layers}"}})
    model = to_plain(Preset("r-mini", recipe, preset_called("mini").size).config({"model": asked}).model)
    assert {name: model[name] for name in expected} == expected


def test_every_recipe_has_all_sizes() -> None:
    sizes = [preset.size for preset in presets_of(STRONGEST)]
    assert all([preset.size for preset in presets_of(recipe)] == sizes for recipe in RECIPES)


def test_one_dial_changes_all_rates_by_the_same_factor() -> None:
    def rates(**asked: float) -> dict[str, float]:
        optimizer = preset_called("tiny").config({"optimizer": asked}).optimizer
        return {name: value for name, value in to_plain(optimizer).items() if name.endswith("_rate")}

    usual = rates()
    assert rates(learning_rate=usual["matrix_adamw_rate"]) == usual
    halved = rates(learning_rate=usual["matrix_adamw_rate"] / 2)
    assert len(halved) == 5 and halved == pytest.approx({name: value / 2 for name, value in usual.items()})
    assert rates(learning_rate=1e-4)["matrix_adamw_rate"] == 1e-4
    assert rates(learning_rate=1e-4, head_rate=0.7) == {**rates(learning_rate=1e-4), "head_rate": 0.7}


def test_an_embedding_that_is_the_head_too_does_not_get_the_rate_for_one_that_is_not() -> None:
    tied = {"model": {"tied": True}}
    asked = {**tied, "optimizer": {"embedding_rate": 0.3}}
    every: tuple[dict[str, Any], ...] = {}, tied, asked
    rates = [preset_called("tiny").config(settings).optimizer.embedding_rate for settings in every]
    assert rates == [RECIPES[STRONGEST].settings["optimizer"]["embedding_rate"], 0.2, 0.3]
    assert preset_called("events").config(tied) == preset_called("events").config()
