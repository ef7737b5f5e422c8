"""All that the commands print: names and texts of strangers come here, and a terminal must not obey them."""

from __future__ import annotations

import sys

import click

from mlx_tiny.errors import printable, shortened
from mlx_tiny.tools.waiting import lines_between


def say(text: str) -> None:
    """Lines beside the result: on stderr."""
    with lines_between():
        click.echo("\n".join(map(shortened, printable(text).split("\n"))), err=True)


def show(text: str) -> None:
    """Lines of the result: on stdout."""
    click.echo(printable(text))


def write(text: str) -> None:
    """A part of what a model writes, on stdout and at once; a file or a pipe gets it as it is."""
    click.echo(printable(text) if sys.stdout.isatty() else text, nl=False)
    sys.stdout.flush()
