"""`mlx-tiny eval`: measures a trained model on any text, in bits per byte."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from mlx_tiny.cli.options import READING, UserPath, config_options, plain_option, user_settings
from mlx_tiny.cli.output import say, show


@click.command()
@click.argument("run", type=UserPath())
@click.argument("text")
@config_options("data", only=READING)
@plain_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path, text: str, plain: bool, as_json: bool, **flags: Any) -> None:
    """Measure the model in folder RUN on TEXT, in bits per byte.

    TEXT is a file, a folder, a glob, or - for standard input, in one of the formats of `mlx-tiny train --data`. Of a
    folder with files called train and test (or valid), only the latter are read. --text-column, --documents and
    --header are those of the run, unless you name others. Text that the model was trained on gives a better result than
    new text; a warning says so as long as the run's data is in the cache.

    \b
      mlx-tiny eval runs/notes other.txt
    """
    from mlx_tiny.data.documents import Tally
    from mlx_tiny.data.events.histories import count_events
    from mlx_tiny.data.measured import config_to_measure, named_texts, reading_lines
    from mlx_tiny.records import to_json
    from mlx_tiny.tools.tables import block
    from mlx_tiny.training.checkpoint import RunFolder
    from mlx_tiny.training.evaluate import evaluate_texts
    from mlx_tiny.training.origin import learned_documents
    from mlx_tiny.training.trained import load_model

    model, tally, documents = load_model(run, say, plain=plain), Tally(), list[str]()
    config = config_to_measure(text, model.data, user_settings(flags, "data"), say, single_lines=model.single_lines)

    def texts() -> Iterator[str]:
        for _, document in named_texts(config, model.tokenizer, tally):
            documents.append(document)
            yield document

    result, fingerprint = evaluate_texts(
        model.parameters, model.config, model.tokenizer, texts(), asked=model.implementation, mixed=model.mixed
    )
    for line in reading_lines(tally):
        say(line)
    learned, doubts = learned_documents(RunFolder(run), documents, model.tokenizer)
    for line in doubts:
        say(f"warning: {line}")
    events = sum(map(count_events, documents))
    values = {
        "bits_per_byte": result.bits_per_byte,
        **({"with_counting_bits_per_byte": result.with_counting_bits_per_byte} if model.mixed else {}),
        **({"bits_per_event": result.bits_per_byte * result.bytes / events} if model.tokenizer.unit == "event" else {}),
        "perplexity_per_token": result.perplexity,
        "tokens": result.tokens,
        "bytes": int(result.bytes),
        "documents": tally.documents,
        "documents_trained_on": learned,
        "fingerprint": fingerprint,
    }
    show(to_json(values) if as_json else block(values))
