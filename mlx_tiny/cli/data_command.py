"""`mlx-tiny data`: shows how text becomes documents and tokens, before anything is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli.describe import describe
from mlx_tiny.cli.options import config_options, user_settings
from mlx_tiny.cli.output import say, show
from mlx_tiny.config import DataConfig, TrainConfig

if TYPE_CHECKING:
    from mlx_tiny.data.prepared import PreparedCorpus

_DOCUMENTS = 3
_PIECES = 60


@click.group()
def command() -> None:
    """Look at text before a model is trained on it.

    \b
      mlx-tiny data show notes.txt
      mlx-tiny data describe purchases.csv --out schema.yaml
    """


command.add_command(describe)


@command.command("show", short_help="Show what would be trained on, without training.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--preset", default=TrainConfig.preset, help="Preset of the training, which decides the vocabulary.")
@config_options("data", without=("sources",))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show_data(paths: tuple[str, ...], preset: str, as_json: bool, **flags: Any) -> None:
    """Show what `mlx-tiny train --data PATH` would train on, without training.

    It lists the files and how they are read, what is left out or skipped, the split, duplicates, tokens, and the first
    documents as the model sees them, with a bar between two tokens. What is prepared is kept for the training.

    \b
      mlx-tiny data show notes.txt
      mlx-tiny data show texts --suffix .md --held-out 0.1 --preset base
    """
    from mlx_tiny.cli.display import PreparationProgress
    from mlx_tiny.data.mixture import absolute_names, prepare_data
    from mlx_tiny.records import to_json, to_plain

    asked = {"sources": paths, **user_settings(flags, "data")}
    size, whose = vocabulary_of(preset, asked)
    config = DataConfig(**{**asked, **absolute_names(asked), "vocabulary_size": size})
    bar = PreparationProgress()
    try:
        parts = prepare_data(config, progress=bar, exact_vocabulary="vocabulary_size" in asked, tell=say).parts
    finally:
        bar.close()
    examples = [list(itertools.islice(_documents(part.corpus), _DOCUMENTS)) for part in parts]
    pairs = list(zip(parts, examples, strict=True))
    if as_json:
        texts = [{**to_plain(part.corpus.record), "examples": found} for part, found in pairs]
        shares = [{"share": part.share, **text} for part, text in zip(parts, texts, strict=True)]
        show(to_json(texts[0] if len(parts) == 1 else {"texts": shares}))
        return
    for part, found in pairs:
        if len(parts) > 1:
            show(f"share: {100 * part.share:.3g} % of the sequences")
        _show(part.corpus, whose, found)


def vocabulary_of(preset: str, asked: dict[str, Any]) -> tuple[int, str]:
    """The size that training would ask for with these settings of the section `data`, and whose size it is.

    Raises:
        TinyError: no such preset.
    """
    from mlx_tiny.config.presets import PRESETS, STRONGEST, presets_of
    from mlx_tiny.study.plan import preset_for

    if "vocabulary_size" in asked:
        return asked["vocabulary_size"], "as asked"
    if asked.get("tokenizer") == "bytes":
        return DataConfig.vocabulary_size, "every byte, whatever the preset"
    name = preset_for(preset, asked)
    if name in PRESETS:
        return PRESETS[name].config().data.vocabulary_size, f"for the preset {name}"
    size = DataConfig.vocabulary_size
    names = [preset.size.name for preset in presets_of(STRONGEST) if preset.config().data.vocabulary_size == size]
    return size, f"for the presets {' and '.join(names)}; --preset shows another"


def _show(corpus: PreparedCorpus, whose: str, examples: list[list[str]]) -> None:
    for line in _lines(corpus, whose):
        show(line)
    for number, pieces in enumerate(examples, 1):
        more = f" ... {len(pieces) - _PIECES:,} more tokens" if len(pieces) > _PIECES else ""
        show(f"\ndocument {number}:\n  {'|'.join(map(_visible, pieces[:_PIECES]))}{more}")


def _documents(corpus: PreparedCorpus) -> Iterator[list[str]]:
    """The pieces of each training document; bytes that are no whole character are written like <E6>."""
    from mlx_tiny.data.batches import documents_of

    pieces = corpus.tokenizer.piece_bytes
    for tokens in documents_of(corpus.train, corpus.tokenizer.bos):
        yield [_text(pieces[token]) for token in tokens]


def _text(piece: bytes) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "".join(f"<{byte:02X}>" for byte in piece)


def _visible(piece: str) -> str:
    return piece.replace("\n", "\\n").replace("\t", "\\t")


def _lines(corpus: PreparedCorpus, whose: str) -> Iterator[str]:
    from mlx_tiny.data.summary import summary
    from mlx_tiny.units import format_bytes

    record = corpus.record
    found = record.found
    yield f"data: {', '.join(record.settings.sources)}"
    for group in found.groups:
        others = f" and {group.files - 1:,} more" if group.files > 1 else ""
        yield f"{group.split}: {group.first}{others} ({format_bytes(group.bytes)}): {group.how}"
    yield f"split: {found.split}"
    yield from summary(record)
    yield (
        f"tokens: {record.train.tokens:,} for training, {record.valid.tokens:,} for validation; vocabulary "
        f"{record.vocabulary_size:,} ({whose}); {record.bytes_per_token:.2f} bytes per token"
    )
