"""Presets: a recipe, which says how a model is built and trained, and a size. All their numbers are here.

`--preset` takes `[RECIPE-]SIZE`, of which either part may be left out: `portable`, `mini`, `strongest-mini`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlx_tiny.config import RunConfig
from mlx_tiny.config.optimizer import without_dial
from mlx_tiny.errors import TinyError
from mlx_tiny.records import from_plain, to_plain

AUTO = "auto"
"""Instead of a size: the one that fits budget and machine."""
STRONGEST, PORTABLE, EVENTS = "strongest", "portable", "events"
# Matrix products of GPUs work on tiles of 8.
_HIDDEN_MULTIPLE = 8

Settings = Mapping[str, Mapping[str, Any]]
"""Settings by section."""


@dataclass(frozen=True)
class Size:
    """A size of the model, and the settings that go with it."""

    name: str
    settings: Settings
    """`hidden` is that of an MLP of two matrices; `swiglu`, which has three, gets as many parameters."""


@dataclass(frozen=True)
class Recipe:
    """How a model of any size is built and trained, where that is not the default of a setting."""

    name: str
    summary: str
    settings: Settings = field(default_factory=dict)
    """In the options of the model, `{layers}` stands for the number of layers."""


@dataclass(frozen=True)
class Preset:
    """A size, with the recipe for its model."""

    name: str
    recipe: Recipe
    size: Size

    def decided(self, section: str) -> dict[str, Any]:
        """The settings of a section that the preset decides."""
        return {**self.size.settings.get(section, {}), **self.recipe.settings.get(section, {})}

    def config(self, asked: Settings | None = None) -> RunConfig:
        """A whole configuration: the user's settings, else those of the preset, else the defaults.

        Args:
            asked: the user's settings by section.

        Raises:
            TinyError: a setting is out of range or of another type.
        """
        asked = asked or {}
        values = to_plain(RunConfig())
        for section, settings in values.items():
            settings.update(self.decided(section))
        own, optimizer = asked.get("model", {}), values["optimizer"]
        if own.get("tied") and not self.decided("model").get("tied"):
            # The rates of recipes are for an embedding that is not the head: tied, `tiny` diverged at 0.6 in 3 steps.
            optimizer["embedding_rate"] = RunConfig().optimizer.embedding_rate
        asked = {**asked, "optimizer": without_dial(asked.get("optimizer", {}), optimizer)}
        for section, settings in values.items():
            settings.update(asked.get(section, {}))
        model = values["model"]
        if "hidden" not in own and model["activation"] == "swiglu":
            model["hidden"] = max(1, round(2 / 3 * model["hidden"] / _HIDDEN_MULTIPLE)) * _HIDDEN_MULTIPLE
        if "options" not in own:
            model["options"] = model["options"].format(layers=model["layers"])
        model["vocabulary_size"] = values["data"]["vocabulary_size"]
        values["train"]["preset"] = self.name
        return from_plain(RunConfig, values)


def _size(name: str, layers: int, width: int, head_width: int, vocabulary: int, context: int, batch: int) -> Size:
    heads = width // head_width
    model = {
        "layers": layers,
        "width": width,
        "heads": heads,
        "key_value_heads": heads,
        "head_width": head_width,
        "hidden": 4 * width,
        "context": context,
    }
    return Size(name, {"data": {"vocabulary_size": vocabulary}, "model": model, "train": {"batch_size": batch}})


# In the order of their cost per token.
_SIZES = (
    _size("tiny", layers=2, width=64, head_width=32, vocabulary=1024, context=128, batch=16),
    _size("mini", layers=4, width=128, head_width=64, vocabulary=2048, context=128, batch=16),
    _size("small", layers=5, width=192, head_width=64, vocabulary=2048, context=128, batch=16),
    _size("base", layers=6, width=256, head_width=64, vocabulary=4096, context=256, batch=16),
    _size("medium", layers=8, width=384, head_width=64, vocabulary=4096, context=512, batch=16),
    _size("large", layers=10, width=512, head_width=64, vocabulary=4096, context=512, batch=32),
)
# For `auto`, named LAYERSxWIDTH: from `tiny` to `mini` the matrices grow sixfold, between others about twice.
_BETWEEN = (_size("3x96", layers=3, width=96, head_width=32, vocabulary=2048, context=128, batch=16),)
# Tried one at a time, in single runs of `mini` of up to 600,000 tokens of TinyStories (benchmarks/LOG.md).
# The embedding rate of `strongest` is between two that were tried, 0.4 and 0.8; `portable` has the lower one of these.
RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            STRONGEST,
            "the lowest bits per byte",
            {
                "model": {
                    "activation": "swiglu",
                    "options": "smear=1,bigram_embedding=8192,value_embeddings={layers}",
                },
                "optimizer": {"adam_beta2": 0.99, "embedding_rate": 0.6},
                "schedule": {"warmup": 0.0},
            },
        ),
        Recipe(
            PORTABLE,
            "the lowest bits per byte of a model that the architecture qwen3 represents exactly",
            {
                "model": {"activation": "swiglu"},
                "optimizer": {"adam_beta2": 0.99, "embedding_rate": 0.4},
                "schedule": {"warmup": 0.0},
            },
        ),
    )
}
# Measured on a table of 10,000 rows, of which each item has few (benchmarks/LOG.md): rows of one table for input and
# output, and strong decay, are what keeps such a model from learning the histories by heart.
_EVENTS = Preset(
    EVENTS,
    Recipe(
        EVENTS,
        "for histories of events: small tables, whose events are told best by the few before them",
        {
            "model": {"tied": True},
            "optimizer": {"embedding_rate": 0.05, "matrix_decay": 0.5, "adamw_decay": 0.5},
            # With it bits per event fall (0.57 to 0.54, 400 histories), but so does the hit rate at 10 (0.31 to 0.27).
            "train": {"counting": False},
        },
    ),
    _size(EVENTS, layers=2, width=64, head_width=32, vocabulary=8192, context=48, batch=32),
)
PRESETS = {
    preset.name: preset
    for preset in (
        *(
            Preset(f"{recipe.name}-{size.name}", recipe, size)
            for recipe in RECIPES.values()
            for size in (*_SIZES, *_BETWEEN)
        ),
        _EVENTS,
    )
}
"""All presets by their whole names."""


def whole_name(text: str) -> str:
    """A preset as runs record it: the recipe, a hyphen and the size, which may be `auto`; `events` alone.

    Raises:
        TinyError: there is no such preset.
    """
    candidates = text, f"{STRONGEST}-{text}", f"{text}-{AUTO}"
    known = {*PRESETS, *(f"{recipe}-{AUTO}" for recipe in RECIPES)}
    for name in candidates:
        if name in known:
            return name
    sizes = ", ".join((AUTO, *(size.name for size in _SIZES)))
    raise TinyError(
        f"Unknown preset {text!r}",
        expected=f"{EVENTS}, or one of {sizes}, alone or after a recipe ({', '.join(RECIPES)}), such as portable-mini",
    )


def usual(name: str) -> RunConfig:
    """The configuration of the preset that a run recorded; the defaults where there is none of this name any more."""
    return PRESETS[name].config() if name in PRESETS else RunConfig()


def ladder(recipe: str) -> tuple[Preset, ...]:
    """What `auto` chooses from: the presets of a recipe, and sizes between them; the smallest first."""

    def matrix(preset: Preset) -> int:
        model = preset.config().model
        return model.layers * model.width**2

    return tuple(sorted((preset for preset in PRESETS.values() if preset.recipe.name == recipe), key=matrix))


def sizes_in_words() -> str:
    """The sizes that `--preset` takes, with layers and width of their models."""
    shapes = ((size.name, size.settings["model"]) for size in _SIZES)
    return ", ".join(f"{name} {shape['layers']}x{shape['width']}" for name, shape in shapes)


def is_portable(name: str) -> bool:
    """Whether a preset, by its whole name, is for models that `qwen3` represents exactly."""
    return name.startswith(f"{PORTABLE}-")


def presets_of(recipe: str) -> tuple[Preset, ...]:
    """The presets of a recipe, in the order of their cost per token."""
    return tuple(preset for preset in PRESETS.values() if preset.recipe.name == recipe and preset.size in _SIZES)


def preset_called(text: str) -> Preset:
    """The preset of a name with a size.

    Raises:
        TinyError: there is no such preset, or its size is `auto`.
    """
    name = whole_name(text)
    if name not in PRESETS:
        raise TinyError(f"The preset {text!r} has no size", expected=", ".join(PRESETS))
    return PRESETS[name]
