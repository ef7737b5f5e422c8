"""Makes command-line options from the dataclasses of `config/`, which have their names, defaults and help texts."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

from mlx_tiny.cli.groups import GroupedOption
from mlx_tiny.config import DataConfig, ModelConfig, OptimizerConfig, Sampling, ScheduleConfig, TrainConfig
from mlx_tiny.config.differences import in_words
from mlx_tiny.config.optimizer import LEARNING_RATE
from mlx_tiny.config.presets import PRESETS, RECIPES, presets_of, sizes_in_words, whole_name
from mlx_tiny.errors import TinyError
from mlx_tiny.files import expanded

F = TypeVar("F", bound=Callable[..., Any])

SECTIONS: dict[str, type] = {
    "data": DataConfig,
    "model": ModelConfig,
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "train": TrainConfig,
}
"""The settings of a run."""
_KINDS = {**SECTIONS, "sampling": Sampling}

_GROUP_OF_SECTION = {"train": "Run"}
_OTHER_GROUPS = {
    **dict.fromkeys([("train", "preset"), ("train", "counting")], "Model"),
    **dict.fromkeys(
        [
            ("train", name)
            for name in ("evaluations", "evaluation_tokens", "measured_bytes", "checkpoints", "samples", "track")
        ],
        "Output",
    ),
}

# Fields whose flag has another name, or two (that of mlx-lm), and fields without a flag.
_RENAMED = {("data", "sources"): "data", ("data", "seed"): "data-seed"}
_ALIASES = {("sampling", "temperature"): ["--temp"], ("model", "context"): ["--max-seq-length"]}
_WITHOUT_FLAG = {("model", "vocabulary_size")}
_TYPES: dict[str, Any] = {"int": int, "float": float, "str": str, "str | None": str, "tuple[str, ...]": str}


READING = ("text_column", "documents", "header", "suffix", "include")
"""The settings of the section `data` that say how files become documents."""


def config_options(*sections: str, only: tuple[str, ...] = (), without: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Add a flag for every setting of these sections; a flag that the user leaves out is None, or () if repeatable.

    Args:
        only: names of the settings, if not all.
        without: names of settings that get no flag.
    """

    def wanted(section: str, name: str) -> bool:
        return has_flag(section, name) and name not in without and (not only or name in only)

    def decorate(function: F) -> F:
        for section in reversed(sections):
            for field in reversed(dataclasses.fields(_KINDS[section])):
                if wanted(section, field.name):
                    function = _option(section, field)(function)
        return function

    return decorate


plain_option = click.option("--plain", is_flag=True, help="Take the model alone where the run has counting.")


class UserPath(click.Path):
    """A path that may begin with `~`; a shell leaves it so where there is no such user, and after `--run=`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return expanded(str(super().convert(value, param, ctx)))


class PresetName(StringParamType):
    """The name of a preset, completed by the shell."""

    name = "preset"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            whole_name(value)
        except TinyError as error:
            self.fail(str(error).rstrip("."), param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        names = {part for name in PRESETS for part in (name, name.rpartition("-")[2])} | {"auto", *RECIPES}
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def user_settings(values: dict[str, Any], section: str) -> dict[str, Any]:
    """The settings of `section` that the user gave, from the keyword arguments of a command."""
    names = [field.name for field in dataclasses.fields(_KINDS[section])] + [LEARNING_RATE] * (section == "optimizer")
    given = {name: values.get(_parameter(section, name)) for name in names}
    return {name: value for name, value in given.items() if value is not None and value != ()}


def has_flag(section: str, field: str) -> bool:
    """Whether a field can be set by a flag."""
    return (section, field) not in _WITHOUT_FLAG


def flag_name(section: str, field: str) -> str:
    """The flag that sets a field: ("train", "batch_size") -> "--batch-size"."""
    return "--" + _RENAMED.get((section, field), field).replace("_", "-")


def _parameter(section: str, field: str) -> str:
    """The keyword argument in which click passes the value of the flag to the command."""
    return f"{section}_{field}"


def _option(section: str, field: dataclasses.Field[Any]) -> Callable[[F], F]:
    names = [_parameter(section, field.name), flag_name(section, field.name), *_ALIASES.get((section, field.name), [])]
    documentation = _documentation(_KINDS[section])[field.name]
    options: dict[str, Any] = {
        "cls": GroupedOption,
        "group": _OTHER_GROUPS.get((section, field.name), _GROUP_OF_SECTION.get(section, section.capitalize())),
        "default": None,
    }
    if str(field.type) in ("bool", "bool | None"):
        names[1] += f"/--no{names[1][1:]}"
    elif (section, field.name) == ("train", "preset"):
        options["type"] = PresetName()
        documentation += f" Sizes, as layers x width: {sizes_in_words()}."
    else:
        choices = getattr(_KINDS[section], "choices", {}).get(field.name)
        options["type"] = click.Choice(choices) if choices else _TYPES[str(field.type)]
        options["multiple"] = str(field.type).startswith("tuple")
    help_text = f"{documentation} [default: {shown_default(section, field)}]"
    return click.option(*names, help=help_text, **options)


def shown_default(section: str, field: dataclasses.Field[Any]) -> str:
    """The default of a field as help shows it; where presets for texts differ, that it is theirs."""
    presets = (preset for recipe in RECIPES for preset in presets_of(recipe))
    values = {preset.decided(section).get(field.name, field.default) for preset in presets}
    if len(values) > 1:
        return "that of the preset"
    (value,) = values
    if isinstance(value, bool):
        return "on" if value else "off"
    return in_words(value)


@functools.cache
def _documentation(kind: type) -> dict[str, str]:
    """The docstring under each field of a dataclass of `config/`, without backquotes."""
    tree = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind.__name__)
    texts = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(text):
            texts[field.target.id] = " ".join(text.value.value.split()).replace("`", "")  # type: ignore[attr-defined]
    return texts


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
