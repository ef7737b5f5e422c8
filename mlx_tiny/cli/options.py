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

from mlx_tiny.cli.output import show
from mlx_tiny.config import DataConfig, ModelConfig, OptimizerConfig, Sampling, ScheduleConfig, TrainConfig
from mlx_tiny.config.presets import RECIPES, presets_of
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

# Fields whose flag has another name, or two, and fields without a flag.
_RENAMED = {("data", "sources"): "data", ("data", "seed"): "data-seed"}
_ALIASES = {("sampling", "temperature"): ["--temp"]}
_WITHOUT_FLAG = {("model", "vocabulary_size")}
_TYPES: dict[str, Any] = {"int": int, "float": float, "str": str, "str | None": str, "tuple[str, ...]": str}


_WHOLE_HELP = "mlx_tiny.cli.options.whole_help"

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


class CommandWithSections(click.Command):
    """A command whose help lists the settings of each section under a heading of its own."""

    first: frozenset[str] = frozenset()
    """Keyword arguments of the options that `--help` shows, and not only `--help-all`; empty for all."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            shown = not self.first or parameter.is_eager or parameter.name in self.first or _WHOLE_HELP in ctx.meta
            if record is not None and shown:
                groups.setdefault(_heading(parameter.name or ""), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def _show_whole_help(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    """What `--help-all` does."""
    if asked and not ctx.resilient_parsing:
        ctx.meta[_WHOLE_HELP] = True
        show(ctx.get_help())
        ctx.exit()


help_all_option = click.option(
    "--help-all",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_whole_help,
    help="Show all options; --help shows the first ones to know.",
)


def _heading(parameter: str) -> str:
    """What the help text calls the section of this keyword argument, as the header of a run does."""
    for section, kind in _KINDS.items():
        if parameter in {_parameter(section, field.name) for field in dataclasses.fields(kind)}:
            return section.capitalize()
    return "Options"


def user_settings(values: dict[str, Any], section: str) -> dict[str, Any]:
    """The settings of `section` that the user gave, from the keyword arguments of a command."""
    found = {}
    for field in dataclasses.fields(_KINDS[section]):
        value = values.get(_parameter(section, field.name))
        if value is not None and value != ():
            found[field.name] = value
    return found


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
    help_text = f"{_documentation(_KINDS[section])[field.name]} [default: {shown_default(section, field)}]"
    if str(field.type) in ("bool", "bool | None"):
        names[1] += f"/--no{names[1][1:]}"
        return click.option(*names, default=None, help=help_text)
    repeatable = str(field.type).startswith("tuple")
    return click.option(
        *names, type=_TYPES[str(field.type)], default=None, multiple=repeatable, show_default=False, help=help_text
    )


def shown_default(section: str, field: dataclasses.Field[Any]) -> str:
    """The default of a field as help shows it; where presets for texts differ, that it is theirs."""
    presets = (preset for recipe in RECIPES for preset in presets_of(recipe))
    values = {preset.decided(section).get(field.name, field.default) for preset in presets}
    if len(values) > 1:
        return "that of the preset"
    (value,) = values
    if isinstance(value, bool):
        return "on" if value else "off"
    return shown(value)


def shown(value: Any) -> str:
    """The value of a setting as a header or a help text shows it."""
    if isinstance(value, tuple):
        value = " ".join(value)
    return "none" if value in (None, "") else str(value)


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
