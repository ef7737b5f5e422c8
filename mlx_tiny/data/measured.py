"""The documents or histories to which a trained model is applied, each with a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Tally
from mlx_tiny.data.events.source import histories_to_measure
from mlx_tiny.data.formats.text import LINES, may_be_lines
from mlx_tiny.data.names import kept
from mlx_tiny.data.opening import expand
from mlx_tiny.data.readers import look
from mlx_tiny.data.sources import files_to_measure, read_all, rules
from mlx_tiny.data.summary import reading_warnings
from mlx_tiny.data.together import common_rules
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.files import expanded

_OF_RUN = ("text_column", "documents", "header")
"""Settings that say what a document is, which measured text has in common with the text that was learned."""
_LOOKED_AT = 20
"""Files that tell how all are read."""


def config_to_measure(
    source: str,
    learned: DataConfig,
    asked: Mapping[str, Any],
    tell: Callable[[str], None] = lambda _: None,
    *,
    single_lines: bool = False,
) -> DataConfig:
    """How a text is read to which a model is applied: as the text that the model learned, unless the user says other.

    Args:
        source: name of the text; "-" is standard input.
        learned: settings of the model's run.
        asked: settings of the user.
        tell: called with a line where the run has settings of its own.
        single_lines: whether each document of the run is a single line, so that lines are documents even if they are
            few.

    Raises:
        TinyError: a setting that is out of range, or is for texts where the run is of histories.
    """
    defaults = {field.name: field.default for field in fields(DataConfig)}
    own = {name: getattr(learned, name) for name in _OF_RUN if name not in asked}
    if (asked.get("header", learned.header) is False) != (learned.header is False):
        own.pop("text_column", None)  # a number without a header, and a name with one
    own = {name: value for name, value in own.items() if value != defaults[name]}
    name = kept(source, asked.get("suffix", ()), table=learned.schema is not None)
    if single_lines and learned.schema is None and "documents" not in {**own, **asked} and _are_lines(name):
        own["documents"] = LINES
    if own:
        told = ", ".join(f"{name.replace('_', '-')} {value}" for name, value in own.items())
        tell(f"read as the run's own text: {told}")
    return DataConfig(**{"schema": learned.schema, **own, **asked, "sources": (name,)})


def _are_lines(name: str) -> bool:
    path = expanded(name)
    return path.is_file() and all(map(may_be_lines, expand(path)))


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
        tally.hows.append("table of events by the schema of the run")
        for history in histories_to_measure(config, tokenizer.schema, tally):
            yield history.name, history.text
    else:
        files, learned = files_to_measure(config, tally)
        how = common_rules(rules(config), learned, several=len(files) > 1)
        tally.hows += dict.fromkeys(look(file, how).how for file in files[:_LOOKED_AT])
        for number, text in enumerate(read_all(files, how, tally), 1):
            yield str(number), text


def reading_lines(tally: Tally) -> list[str]:
    """Lines that say how the texts were read, and what was not read or not as the user may expect."""
    hows = [f"read: {'; '.join(tally.hows)}"] if tally.hows else []
    return [*hows, *reading_warnings(tally.skipped, tally.markers, tally.left_out)]
