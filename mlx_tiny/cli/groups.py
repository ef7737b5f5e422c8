"""Help texts of commands with many options: in groups, and the first ones to know before all others."""

from __future__ import annotations

from typing import Any

import click

from mlx_tiny.cli.output import show

GROUPS = ("Data", "Model", "Optimizer", "Schedule", "Run", "Output", "Sampling", "Options")
"""Headings of options in help texts, in their order."""
_WHOLE_HELP = "mlx_tiny.cli.groups.whole_help"


class GroupedOption(click.Option):
    """An option under a heading of the help text: `@click.option(..., cls=GroupedOption, group="Output")`."""

    def __init__(self, *arguments: Any, group: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.group = group


class CommandWithSections(click.Command):
    """A command whose help has groups."""

    first: frozenset[str] = frozenset()
    """Keyword arguments of the options that `--help` shows, and not only `--help-all`; empty for all."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {heading: [] for heading in GROUPS}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            shown = not self.first or parameter.is_eager or parameter.name in self.first or _WHOLE_HELP in ctx.meta
            if record is not None and shown:
                groups[getattr(parameter, "group", "Options")].append(record)
        for heading, records in groups.items():
            if records:
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
