"""`mlx-tiny eval`: measures a trained model on any text, in bits per byte."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("text")
@click.option("--text-column", help="Column of a table, or key of JSON lines, that contains the text.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path, text: str, text_column: str | None, as_json: bool) -> None:
    """Measure the model in folder RUN on TEXT, in bits per byte.

    TEXT is a file, a folder or a glob, in one of the formats of `mlx-tiny train --data`.

    \b
      mlx-tiny eval runs/notes other.txt
    """
    from mlx_tiny.cli.session import say
    from mlx_tiny.data.documents import Rules, Tally
    from mlx_tiny.data.opening import InputFile
    from mlx_tiny.data.readers import read_texts
    from mlx_tiny.data.sources import find_files
    from mlx_tiny.data.tokenizer import load_tokenizer
    from mlx_tiny.ops.implementations import beyond_training
    from mlx_tiny.records import to_json
    from mlx_tiny.tools.tables import block
    from mlx_tiny.training.checkpoint import RunFolder
    from mlx_tiny.training.evaluate import evaluate_texts

    folder = RunFolder(run)
    parameters, tokenizer = folder.load_weights(say), load_tokenizer(folder.tokenizer_model)
    rules, tally = Rules(column=text_column), Tally()
    texts = (document for path in find_files(text) for document in read_texts(InputFile(path), rules, tally))
    result, fingerprint = evaluate_texts(
        parameters,
        folder.config.model,
        tokenizer,
        texts,
        asked=beyond_training(folder.config.train.implementation),
    )
    values = {
        "bits_per_byte": result.bits_per_byte,
        "perplexity_per_token": result.perplexity,
        "tokens": result.tokens,
        "bytes": int(result.bytes),
        "fingerprint": fingerprint,
    }
    click.echo(to_json(values) if as_json else block(values))
