"""`mlx-tiny predict`: the likeliest next item of each history, or the likeliest next piece of each text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli.options import READING, UserPath, config_options, plain_option, user_settings
from mlx_tiny.cli.output import say, show
from mlx_tiny.errors import TinyError, one_line

if TYPE_CHECKING:
    from mlx_tiny.data.tokenizer import Tokenizer
    from mlx_tiny.data.tokenizers.items import ItemsTokenizer
    from mlx_tiny.training.next_items import Comparison
    from mlx_tiny.training.trained import TrainedModel

_SHOWN_CHARACTERS = 40


@click.command()
@click.argument("run", type=UserPath())
@click.argument("text", required=False)
@config_options("data", only=READING)
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many items to show.")
@click.option(
    "--evaluate",
    is_flag=True,
    help="Measure how often the next item is among the first, beside simple predictors: in the histories of TEXT, or "
    "without it in those that the run held out.",
)
@plain_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(run: Path, text: str | None, top: int, evaluate: bool, plain: bool, as_json: bool, **flags: Any) -> None:
    """Show the likeliest next items of each history in TEXT, by the model in folder RUN.

    TEXT is a table, as for `mlx-tiny train --schema`; beside an item are the words that it usually has there. For a run
    without a schema TEXT is any text, as for `mlx-tiny eval`, and the likeliest next pieces of each document are shown;
    an empty piece is its end.

    \b
      mlx-tiny predict runs/shop purchases.csv --top 5
      mlx-tiny predict runs/shop --evaluate
    """
    from mlx_tiny.records import to_json
    from mlx_tiny.training.trained import load_model

    if text is None and not evaluate:
        raise click.UsageError("Missing argument 'TEXT'; without it, --evaluate measures on what the run held out.")
    model, settings = load_model(run, say, plain=plain), user_settings(flags, "data")
    if evaluate:
        compared = _compared(run, model, text, top, settings)
        show(to_json(_plain(compared, top)) if as_json else "\n".join(_lines(compared, top)))
        return
    assert text is not None
    rows = list(_predictions(model, text, top, settings))
    if as_json:
        show(to_json({"predictions": rows}))
        return
    show(_heading(model.tokenizer))
    for row in rows:
        shown = ", ".join(_shown(model.tokenizer, likely) for likely in row["next"])
        end = f"{row['end']!r} " if "end" in row else ""
        show(f"{one_line(row['name'])}: {end}{shown}")


def _heading(tokenizer: Tokenizer) -> str:
    """What stands in the lines below."""
    from mlx_tiny.data.tokenizers.items import ItemsTokenizer

    if isinstance(tokenizer, ItemsTokenizer):
        schema = tokenizer.schema
        return f"{' '.join(schema.history) or 'history'}: the likeliest next {schema.item.name}, with its probability"
    return "document: its end -> the likeliest next pieces, with their probabilities; '' is the end of a document"


def _shown(tokenizer: Tokenizer, likely: dict[str, Any]) -> str:
    """An item as it is, since names of items are plain, with its words; and a piece of text in quotes."""
    text = likely["text"]
    piece = text if tokenizer.unit == "event" and text.isprintable() else repr(text)
    words = f" ({shorten(likely['words'], _SHOWN_CHARACTERS, placeholder='...')})" if "words" in likely else ""
    return f"{piece}{words} {likely['probability']:.1%}"


def _predictions(model: TrainedModel, text: str, top: int, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The name of each history or document, and what is likeliest next, as --json has it."""
    from mlx_tiny.data.events.histories import usual_words
    from mlx_tiny.data.tokenizers.items import ItemsTokenizer
    from mlx_tiny.training.next_items import next_items, next_pieces

    names, texts = _named(model, text, settings)
    asked, mixed, tokenizer = model.implementation, model.mixed, model.tokenizer
    if isinstance(tokenizer, ItemsTokenizer):
        words = usual_words(texts, tokenizer.schema)
        found = next_items(model.parameters, model.config, tokenizer, texts, top, asked=asked, mixed=mixed)
        for name, likeliest in zip(names, found, strict=True):
            yield {"name": name, "next": [{**asdict(likely), **_words(words, likely.text)} for likely in likeliest]}
        return
    pieces = next_pieces(model.parameters, model.config, tokenizer, texts, top, asked=asked, mixed=mixed)
    for name, document, likeliest in zip(names, texts, pieces, strict=True):
        yield {"name": name, "end": document[-_SHOWN_CHARACTERS:], "next": [asdict(likely) for likely in likeliest]}


def _words(words: dict[str, str], item: str) -> dict[str, str]:
    return {"words": words[item]} if item in words else {}


def _named(model: TrainedModel, text: str, settings: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The names and the texts of the histories or documents."""
    from mlx_tiny.data.documents import Tally
    from mlx_tiny.data.measured import config_to_measure, named_texts, reading_lines

    tally = Tally()
    config = config_to_measure(text, model.data, settings, say, single_lines=model.single_lines)
    documents = list(named_texts(config, model.tokenizer, tally))
    for line in reading_lines(tally):
        say(line)
    if not documents:
        raise TinyError(f"{text} contains no documents", remedy="Name a file with text")
    return [name for name, _ in documents], [document for _, document in documents]


def _compared(run: Path, model: TrainedModel, text: str | None, top: int, settings: dict[str, Any]) -> Comparison:
    from mlx_tiny.data.tokenizers.items import ItemsTokenizer
    from mlx_tiny.training.checkpoint import RunFolder
    from mlx_tiny.training.learned import count_learned
    from mlx_tiny.training.next_items import compare
    from mlx_tiny.training.origin import learned_texts
    from mlx_tiny.training.own_text import own_text

    tokenizer, folder = model.tokenizer, RunFolder(run)
    if not isinstance(tokenizer, ItemsTokenizer):
        raise TinyError(
            f"The run at {run} has no items to predict",
            expected="a run that was trained with --schema",
            remedy="Leave --evaluate out, or measure the run in bits per byte (mlx-tiny eval)",
        )
    corpus = own_text(folder, tell=say).parts[0].corpus  # a mixture has no events
    training = list(_documents(corpus.train, tokenizer))
    if text is None:
        if corpus.record.found.trained_on_validation:
            say("warning: the run held nothing out, so these histories were trained on")
        held_out = list(_documents(corpus.valid, tokenizer))
    else:
        _, held_out = _named(model, text, settings)
        known = count_learned(held_out, tokenizer, learned_texts(folder))
        if known:
            say(
                f"warning: {known:,} of the {len(held_out):,} histories were trained on, wholly or their first events: "
                f"the model and the simple predictors are better than on new histories"
            )
    asked, mixed = model.implementation, model.mixed
    return compare(model.parameters, model.config, tokenizer, training, held_out, top, asked=asked, mixed=mixed)


def _documents(tokens: Any, tokenizer: ItemsTokenizer) -> Iterator[str]:
    """The texts of a token file."""
    from mlx_tiny.data.batches import documents_of

    for document in documents_of(tokens, tokenizer.bos):
        yield tokenizer.decode(document.tolist())


def _plain(compared: Comparison, top: int) -> dict[str, Any]:
    return {
        "top": top,
        "histories": compared.histories,
        "events": compared.events,
        "candidates": compared.candidates,
        "unknown_share": compared.unknown,
        "predictors": {
            name: {
                "hit_rate": accuracy.hit_rate,
                "hit_rate_standard_error": accuracy.hit_rate_error,
                "mean_reciprocal_rank": accuracy.mean_reciprocal_rank,
            }
            for name, accuracy in compared.accuracies.items()
        },
    }


def _lines(compared: Comparison, top: int) -> Iterator[str]:
    from mlx_tiny.tools.tables import Column, Table, block

    hits = f", of which the first {top} are all: --top 1 tells more" if compared.candidates <= top else ""
    table = Table[tuple[str, Any]](
        lambda row: row[0],
        [
            Column(f"hit rate at {top}", lambda row: f"{row[1].hit_rate:.3f}", "share of the events"),
            Column("+-", lambda row: f"{row[1].hit_rate_error:.3f}", "standard error over histories"),
            Column("reciprocal rank", lambda row: f"{row[1].mean_reciprocal_rank:.3f}", "mean of 1 / place"),
        ],
    )
    yield from table.lines(list(compared.accuracies.items()))
    yield from table.legend()
    yield ""
    yield block(
        {
            "histories": compared.histories,
            "events": compared.events,
            "candidates": f"{compared.candidates}{hits}",
            "unknown": f"{compared.unknown:.1%} of the events have an item that is no candidate: a miss for all",
        }
    )
