"""`mlx-tiny score`: how likely each document or history is to a trained model, the unlikeliest first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli.options import READING, UserPath, config_options, plain_option, user_settings
from mlx_tiny.cli.output import say, show

if TYPE_CHECKING:
    from mlx_tiny.data.tokenizer import Tokenizer
    from mlx_tiny.training.scoring import Score

_SHOWN_CHARACTERS = 60


@click.command()
@click.argument("run", type=UserPath())
@click.argument("text")
@config_options("data", only=READING)
@click.option("--per-token", is_flag=True, help="Show the log-probability of each token, in nats.")
@plain_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path, text: str, per_token: bool, plain: bool, as_json: bool, **flags: Any) -> None:
    """Show how likely each document of TEXT is to the model in folder RUN, the unlikeliest first.

    TEXT is a file, a folder, a glob, or - for standard input, as for `mlx-tiny eval`; for a run with a schema, a table,
    of which each history is scored. Unlikely documents are often errors or foreign text; very likely ones are often
    copies.

    \b
      mlx-tiny score runs/notes other.txt
    """
    from mlx_tiny.data.documents import Tally
    from mlx_tiny.data.events.histories import count_events
    from mlx_tiny.data.measured import config_to_measure, named_texts, reading_lines
    from mlx_tiny.errors import TinyError, one_line
    from mlx_tiny.records import to_json
    from mlx_tiny.training.scoring import score_texts
    from mlx_tiny.training.trained import load_model

    model = load_model(run, say, plain=plain)
    config = config_to_measure(text, model.data, user_settings(flags, "data"), say, single_lines=model.single_lines)
    tally, beginnings = Tally(), list[tuple[str, str, int]]()

    def texts() -> Iterator[str]:
        for name, document in named_texts(config, model.tokenizer, tally):
            beginnings.append((name, document[:_SHOWN_CHARACTERS], count_events(document)))
            yield document

    scores = score_texts(
        model.parameters, model.config, model.tokenizer, texts(), asked=model.implementation, mixed=model.mixed
    )
    rows = [_row(*beginnings[number], score, model.tokenizer, per_token) for number, score in enumerate(scores)]
    for line in reading_lines(tally):
        say(line)
    if not rows:
        raise TinyError(f"{text} contains no documents", remedy="Name a file with text")
    measure = f"bits_per_{model.tokenizer.unit}"
    rows.sort(key=lambda row: -row[measure])
    if as_json:
        show(to_json({"documents": rows}))
        return
    show(f"{measure}\tlog_probability_in_nats\tname\tbeginning")
    for row in rows:
        beginning = " ".join(row["beginning"].split())
        show(f"{row[measure]:.3f}\t{row['log_probability']:.1f}\t{one_line(row['name'])}\t{beginning}")
        for piece, log_probability in row.get("per_token", ()):
            show(f"\t{log_probability:.2f}\t{piece!r}")


def _row(name: str, beginning: str, events: int, score: Score, tokenizer: Tokenizer, per_token: bool) -> dict[str, Any]:
    """The result for a document, as --json has it; `beginning` is that of its text, log-probabilities are in nats."""
    row: dict[str, Any] = {
        "name": name,
        "log_probability": score.log_probability,
        "bits_per_byte": score.bits_per_byte,
        "tokens": len(score.tokens),
        "bytes": score.bytes,
    }
    if tokenizer.unit == "event":
        row |= {"bits_per_event": score.bits_per_byte * score.bytes / events, "events": events}
    row["beginning"] = beginning
    if per_token:
        pieces = (tokenizer.decode([index]) for index in score.tokens.tolist())
        row["per_token"] = list(zip(pieces, score.log_probabilities.tolist(), strict=True))
    return row
