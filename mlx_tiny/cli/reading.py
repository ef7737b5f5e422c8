"""The documents or histories on which a command applies a trained model, each with a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mlx_tiny.config import DataConfig

if TYPE_CHECKING:
    from mlx_tiny.data.documents import Tally
    from mlx_tiny.data.tokenizer import Tokenizer


def named_texts(tokenizer: Tokenizer, named: str, settings: dict[str, Any], tally: Tally) -> Iterator[tuple[str, str]]:
    """Names and texts: the histories of tables where the model was trained on histories, else documents.

    Args:
        tokenizer: of the model.
        named: a file, a folder, a glob, or - for standard input.
        settings: of the section `data`, how files become documents.
        tally: counts what is met.

    Raises:
        TinyError: a file is missing, cannot be read, or does not fit the schema of the run.
    """
    from mlx_tiny.data.events.source import histories_to_measure
    from mlx_tiny.data.names import kept
    from mlx_tiny.data.sources import texts_to_measure
    from mlx_tiny.data.tokenizers.items import ItemsTokenizer

    config = DataConfig(sources=(kept(named),), **settings)
    if isinstance(tokenizer, ItemsTokenizer):
        for history in histories_to_measure(config, tokenizer.schema, tally):
            yield history.name, history.text
    else:
        for number, text in enumerate(texts_to_measure(config, tally), 1):
            yield str(number), text
