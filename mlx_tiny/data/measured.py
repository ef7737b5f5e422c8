"""The documents or histories to which a trained model is applied, each with a name."""

from __future__ import annotations

from collections.abc import Iterator

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Tally
from mlx_tiny.data.events.source import histories_to_measure
from mlx_tiny.data.sources import texts_to_measure
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer


def named_texts(config: DataConfig, tokenizer: Tokenizer, tally: Tally) -> Iterator[tuple[str, str]]:
    """Names and texts: histories of tables for a model that was trained on histories, else documents by their number.

    Args:
        config: which files, and how they are read.
        tokenizer: of the model; it contains the schema of its histories.
        tally: counts what is met.

    Raises:
        TinyError: a file is missing, cannot be read, or does not fit the schema of the model.
    """
    if isinstance(tokenizer, ItemsTokenizer):
        for history in histories_to_measure(config, tokenizer.schema, tally):
            yield history.name, history.text
    else:
        for number, text in enumerate(texts_to_measure(config, tally), 1):
            yield str(number), text
