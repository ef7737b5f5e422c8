"""Calls a command from Python, with the command line's own rules for names and values of options."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import signal
import sys
from collections.abc import Iterable, Iterator
from numbers import Number
from typing import Any

import click

from mlx_tiny.cli.streams import lenient
from mlx_tiny.errors import TinyError
from mlx_tiny.records import from_plain
from mlx_tiny.tools import laps
from mlx_tiny.tools.signals import Interrupted


def call_command(name: str, **options: Any) -> None:
    """Run `mlx-tiny NAME` in this process; what it prints goes to stderr.

    Args:
        options: the command's options, with underscores, and `from_` for `--from`; a bool for a flag, None to leave an
            option out, and a list or a tuple for several values.

    Raises:
        TinyError: the command failed, or there is no such option or value.
        KeyboardInterrupt: by Ctrl-C, also where a run was saved and reported first.
        Interrupted: a kind of SystemExit, by another signal then.
    """
    command: click.Command = importlib.import_module(f"mlx_tiny.cli.{name}_command").command
    arguments = [part for option, value in options.items() for part in _flags(option, value)]
    shown = lenient(sys.stderr)
    laps.COMMAND.restart()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            command.main(arguments, prog_name=f"mlx-tiny {name}", standalone_mode=False)
        except click.ClickException as error:
            raise TinyError(
                error.format_message().rstrip("."), remedy=f"See `mlx-tiny {name} --help` for the options"
            ) from error
        except (click.Abort, Interrupted) as stop:
            if isinstance(stop, Interrupted) and stop.code != 128 + signal.SIGINT:
                raise
            raise KeyboardInterrupt from None


def checked_settings(kind: type, values: dict[str, Any], names: tuple[str, ...] = ()) -> dict[str, Any]:
    """Arguments for a class of `config/`; a single text stands for a list of one.

    Args:
        names: those that can be given, if not all.

    Raises:
        TinyError: there is no such setting, or a value is out of range or of another type.
    """
    types = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    known = names or tuple(types)
    for name in values:
        if name not in known:
            raise TinyError(f"There is no setting {name}", expected=f"one of {', '.join(known)}")
    given = {name: _as_tuple(value) if "tuple" in types[name] else _plain(value) for name, value in values.items()}
    settings: Any = from_plain(kind, given, "settings")
    return {name: getattr(settings, name) for name in given}


def _plain(value: Any) -> Any:
    """The value, as a number of Python where it is one of numpy."""
    return value.item() if isinstance(value, Number) and hasattr(value, "item") else value


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def _flags(option: str, value: Any) -> Iterator[str]:
    flag = "--" + option.rstrip("_").replace("_", "-")
    if flag in ("--help", "--help-all"):
        raise TinyError(f"There is no setting {option}", remedy="Call Python's help(), or `mlx-tiny COMMAND --help`")
    if isinstance(value, (list, tuple)) and not value:
        raise TinyError(f"The list for {flag} is empty", expected="at least one value, or None to leave it out")
    if isinstance(value, bool):
        yield flag if value else f"--no{flag[1:]}"
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _flags(option, one)
    elif value is not None:
        # One word, so that a value may begin with a dash.
        yield f"{flag}={value}"
