"""`mlx-tiny generate`: writes text with a trained model."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_tiny.errors import TinyError

if TYPE_CHECKING:
    from mlx_tiny.data.tokenizer import Tokenizer
    from mlx_tiny.model.parameters import Parameters
    from mlx_tiny.model.sampling import Sampling
    from mlx_tiny.training.checkpoint import RunFolder


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--prompt", default="", help="Beginning of the text.")
@click.option(
    "--temperature",
    default=0.8,
    show_default=True,
    help="Higher values give more varied text; 0 always takes the likeliest token.",
)
@click.option(
    "--top-p",
    default=0.95,
    show_default=True,
    help="Draw from the likeliest tokens that have this share of the probability.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Seed of the random numbers; the same seed gives the same text."
)
@click.option("--max-tokens", default=256, show_default=True, help="Largest number of tokens to write.")
@click.option("--interactive", is_flag=True, help="Ask for one prompt after another, until the end of the input.")
def command(
    run: Path, prompt: str, temperature: float, top_p: float, seed: int, max_tokens: int, interactive: bool
) -> None:
    """Write text with the model in folder RUN.

    \b
      mlx-tiny generate runs/notes --prompt "Once upon a time"
    """
    from mlx_tiny.cli.session import say
    from mlx_tiny.data.tokenizer import load_tokenizer
    from mlx_tiny.model.sampling import Sampling
    from mlx_tiny.training.checkpoint import RunFolder

    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed, max_tokens=max_tokens)
    folder = RunFolder(run)
    parameters, tokenizer = folder.load_weights(say), load_tokenizer(folder.tokenizer_model)
    if not interactive:
        _write(folder, parameters, tokenizer, prompt, sampling)
        return
    while (asked := _ask()) is not None:
        try:
            _write(folder, parameters, tokenizer, asked, sampling)
        except TinyError as error:
            click.echo(str(error), err=True)
        sampling = dataclasses.replace(sampling, seed=sampling.seed + 1)


def _ask() -> str | None:
    """The next prompt, or None at the end of input."""
    try:
        return input("> " if sys.stdin.isatty() else "")
    except EOFError:
        return None


def _write(folder: RunFolder, parameters: Parameters, tokenizer: Tokenizer, prompt: str, sampling: Sampling) -> None:
    """Print the text token by token."""
    from mlx_tiny.cli.display import printable
    from mlx_tiny.model.writing import write_text
    from mlx_tiny.ops.implementations import beyond_training

    # A terminal would obey control characters; a file or a pipe gets the text as it is.
    shown = printable if sys.stdout.isatty() else str
    written = write_text(
        parameters,
        folder.config.model,
        tokenizer,
        os.fsencode(prompt),
        sampling,
        asked=beyond_training(folder.config.train.implementation),
        notice=lambda line: click.echo(line, err=True),
    )
    started = False
    for text in written:
        if not started:
            click.echo(prompt, nl=False)
            started = True
        click.echo(shown(text), nl=False)
        sys.stdout.flush()
    click.echo("" if started else prompt)
