"""Starts the commands of this folder."""

from __future__ import annotations

import click

from mlx_tiny.errors import TinyError


def start(command: click.Command) -> None:
    """Run a command; a TinyError is shown as one paragraph."""
    try:
        command()
    except TinyError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
