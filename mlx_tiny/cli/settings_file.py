"""`--config`: options from a YAML file, or those of another run. Flags of the command line win."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from mlx_tiny.cli.groups import GroupedOption
from mlx_tiny.errors import TinyError

F = TypeVar("F", bound=Callable[..., Any])

_RUN = "format_version"
"""A key of the settings that a run has saved."""
PRESET_OF_RUN = "mlx_tiny.cli.settings_file.preset"
"""Where the context of a command has the preset of the run whose settings it takes."""


def _read(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Make the values of the file the defaults of the options."""
    if path is not None and not ctx.resilient_parsing:
        ctx.default_map = dict(_defaults(path / "config.json" if path.is_dir() else path, ctx))


def _defaults(path: Path, ctx: click.Context) -> Iterator[tuple[str, Any]]:
    """Keyword arguments of the command with their values.

    Raises:
        TinyError: the file cannot be read, or has a key that is no option, or a list where one value is expected.
    """
    from mlx_tiny.tools.yaml import read_yaml

    values = read_yaml(path, "file of settings")
    if not isinstance(values, dict):
        raise TinyError(f"The file of settings {path} is malformed", expected="lines such as budget: 5m")
    options = {
        name.removeprefix("--"): option
        for option in ctx.command.params
        for name in option.opts
        if isinstance(option, click.Option) and not option.is_eager
    }
    sections = {option.name: option for option in options.values()}
    seen = dict[str, str]()
    saved = dict(_of_run(path)) if _RUN in values else {}
    if saved:
        ctx.meta[PRESET_OF_RUN] = saved["train", "preset"]
    for key, value in saved.items() if saved else _flat(values):
        option = sections.get("_".join(key)) if len(key) > 1 else options.get(key[0].replace("_", "-"))
        name = ".".join(key)
        if option is None:
            raise _unknown(name, path, sorted(options))
        if (first := seen.setdefault(str(option.name), name)) != name:
            raise TinyError(f"In {path}, {first} and {name} are the same setting", remedy="Name one of them")
        many = isinstance(value, (list, tuple))
        if isinstance(value, dict) or (many and not option.multiple):
            raise TinyError(f"In {path}, {name} is not a single value")
        yield str(option.name), value if many or not option.multiple else [value]


def _flat(values: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Keys with their values, those of a section below its name."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from (((key, inner), below) for inner, below in value.items())
        else:
            yield (key,), value


def _of_run(path: Path) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The settings of a run, without those that follow from others or have no value."""
    from mlx_tiny.cli.options import has_flag
    from mlx_tiny.records import to_plain
    from mlx_tiny.training.described import read_described

    config = read_described(path).config
    # A text in few words got a smaller vocabulary than was asked for.
    derived = config.model.vocabulary_size != config.data.vocabulary_size
    for section, settings in to_plain(config).items():
        for name, value in settings.items():
            if has_flag(section, name) and value is not None and not (name == "vocabulary_size" and derived):
                yield (section, name), value


def _unknown(name: str, path: Path, known: list[str]) -> TinyError:
    near = difflib.get_close_matches(name.rpartition(".")[2].replace("_", "-"), known, 3)
    return TinyError(
        f"Unknown setting {name} in {path}",
        expected=", ".join(near) if near else "the long options of the command, without the dashes",
        remedy="`mlx-tiny train --help-all` lists them",
    )


def settings_file_option(function: F) -> F:
    """Add `--config`."""
    from mlx_tiny.cli.options import UserPath

    return click.option(
        "-c",
        "--config",
        "settings_file",
        type=UserPath(),
        is_eager=True,
        expose_value=False,
        callback=_read,
        cls=GroupedOption,
        group="Run",
        help="YAML file of options, a line each, as in `budget: 5m`; or a run, whose settings are taken. Flags win.",
    )(function)
