"""`mlx-tiny eval`: measures a trained model on any text, in bits per byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mlx_tiny.cli.options import READING, config_options, user_settings
from mlx_tiny.config import DataConfig


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("text")
@config_options("data", only=READING)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path, text: str, as_json: bool, **flags: Any) -> None:
    """Measure the model in folder RUN on TEXT, in bits per byte.

    TEXT is a file, a folder, a glob, or - for standard input, in one of the formats of `mlx-tiny train --data`. Of a
    folder with files called train and test (or valid), only the latter are read.

    \b
      mlx-tiny eval runs/notes other.txt
    """
    from mlx_tiny.cli.session import say
    from mlx_tiny.data.documents import Tally
    from mlx_tiny.data.measured import named_texts
    from mlx_tiny.data.names import kept
    from mlx_tiny.data.summary import reading_warnings
    from mlx_tiny.records import to_json
    from mlx_tiny.tools.tables import block
    from mlx_tiny.training.evaluate import evaluate_texts
    from mlx_tiny.training.trained import load_model

    model, tally, events = load_model(run, say), Tally(), 0
    config = DataConfig(sources=(kept(text, flags.get("data_suffix") or ()),), **user_settings(flags, "data"))

    def texts() -> Iterator[str]:
        nonlocal events
        for _, document in named_texts(config, model.tokenizer, tally):
            events += document.count("\n") + 1
            yield document

    result, fingerprint = evaluate_texts(
        model.parameters, model.config, model.tokenizer, texts(), asked=model.implementation
    )
    for line in reading_warnings(tally.skipped, tally.markers, tally.left_out):
        say(line)
    values = {
        "bits_per_byte": result.bits_per_byte,
        **({"bits_per_event": result.bits_per_byte * result.bytes / events} if model.tokenizer.unit == "event" else {}),
        "perplexity_per_token": result.perplexity,
        "tokens": result.tokens,
        "bytes": int(result.bytes),
        "documents": tally.documents,
        "fingerprint": fingerprint,
    }
    click.echo(to_json(values) if as_json else block(values))
