"""Flags of training that stand for several settings, for another one, or for a file of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from mlx_tiny.cli.groups import CommandWithSections, GroupedOption
from mlx_tiny.cli.settings_file import PRESET_OF_RUN, settings_file_option
from mlx_tiny.config.optimizer import LEARNING_RATE, RATES, without_dial
from mlx_tiny.config.presets import whole_name

F = TypeVar("F", bound=Callable[..., Any])

_ITERS, _BUDGET, _PRESET, _DIAL = "iters", "train_budget", "train_preset", f"optimizer_{LEARNING_RATE}"


class CommandWithDials(CommandWithSections):
    """A command with the options of training and with `dial_options`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        _turn_steps_into_budget(ctx)
        _turn_rates_of_file(ctx)
        _require_preset_of_run(ctx)
        return rest


def _is_flag(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE


def _turn_rates_of_file(ctx: click.Context) -> None:
    """Let `--learning-rate` turn the rates that `--config` gives, where these have a scale; other flags stay."""
    names = {rate: f"optimizer_{rate}" for rate in RATES}
    if not _is_flag(ctx, _DIAL) or ctx.get_parameter_source(names["matrix_adamw_rate"]) != ParameterSource.DEFAULT_MAP:
        return
    of_file = {rate: ctx.params[name] for rate, name in names.items() if ctx.params[name] is not None}
    turned = without_dial({LEARNING_RATE: ctx.params[_DIAL]}, of_file)
    ctx.params.update({names[rate]: value for rate, value in turned.items() if not _is_flag(ctx, names[rate])})


def _require_preset_of_run(ctx: click.Context) -> None:
    """Refuse another preset than that of the run whose settings `--config` gives, because these would undo it."""
    saved = ctx.meta.get(PRESET_OF_RUN)
    if saved is not None and _is_flag(ctx, _PRESET) and whole_name(asked := ctx.params[_PRESET]) != saved:
        raise click.UsageError(
            f"--config gives all settings of a run of the preset {saved}, so that --preset {asked} would decide "
            f"nothing: leave out one of them",
            ctx,
        )


def _turn_steps_into_budget(ctx: click.Context) -> None:
    """What `--iters` does."""
    steps = ctx.params.pop(_ITERS, None)
    if steps is None:
        return
    sources = [ctx.get_parameter_source(name) for name in (_ITERS, _BUDGET)]
    if ctx.params[_BUDGET] is not None and sources[0] == sources[1]:
        raise click.UsageError("--iters is a budget in steps: name it or --budget, not both", ctx)
    if ctx.params[_BUDGET] is None or sources[0] == ParameterSource.COMMANDLINE:
        ctx.params[_BUDGET] = f"{steps}steps"


def dial_options(function: F) -> F:
    """Add the dials; their headings are those of the settings that they change."""
    return settings_file_option(_learning_rate(_iters(function)))


_learning_rate = click.option(
    _DIAL,
    "--learning-rate",
    type=float,
    cls=GroupedOption,
    group="Optimizer",
    help="One dial for all learning rates: the peak rate that matrices have under AdamW, usually 0.003. The rates of "
    "all groups, Muon's too, change by the same factor; one that has a flag of its own is as that says.",
)
_iters = click.option(
    "--iters",
    _ITERS,
    type=click.IntRange(min=1),
    cls=GroupedOption,
    group="Run",
    help="Budget in steps, in place of --budget: --iters 2000 is --budget 2000steps.",
)
