"""The likeliest next items of histories, and how good they are beside simple predictors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mlx_tiny.config import ModelConfig
from mlx_tiny.data.events.baselines import Accuracy, baselines
from mlx_tiny.data.events.cells import unescape
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.data.tokenizers.items import ItemsTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.model.mixing import Mixed
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.implementations import AUTO
from mlx_tiny.training.prediction import log_probabilities


@dataclass(frozen=True)
class Expected:
    """A continuation and its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class Comparison:
    """How often each predictor had the next item among its first."""

    histories: int
    events: int
    candidates: int
    """Items that are ranked: those that the vocabulary knows."""
    unknown: float
    """Share of the events whose item is no candidate; they are misses of every predictor."""
    accuracies: dict[str, Accuracy]
    """By the name of the predictor; the model is the first."""


def next_items(
    parameters: Parameters,
    config: ModelConfig,
    tokenizer: ItemsTokenizer,
    histories: Iterable[str],
    top: int,
    *,
    asked: str = AUTO,
    mixed: Mixed | None = None,
) -> Iterator[list[Expected]]:
    """The likeliest items of the event after each history, the likeliest first.

    The probabilities are those of known items, given that there is another event.
    """
    texts = (f"{text}\n" if text else "" for text in histories)
    sequences = ((ids, [len(ids)]) for ids in ([tokenizer.bos, *tokenizer.encode(text)] for text in texts))
    for scores in log_probabilities(parameters, config, sequences, tokenizer.items, asked=asked, mixed=mixed):
        yield _likeliest(scores[0], [unescape(cell.decode()) for cell in tokenizer.item_pieces], top)


def next_pieces(
    parameters: Parameters,
    config: ModelConfig,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    top: int,
    *,
    asked: str = AUTO,
    mixed: Mixed | None = None,
) -> Iterator[list[Expected]]:
    """The likeliest pieces of text after each text, the likeliest first; the end of the text is an empty piece."""
    sequences = ((ids, [len(ids)]) for ids in ([tokenizer.bos, *tokenizer.encode(text)] for text in texts))
    pieces = [tokenizer.decode([index]) for index in range(tokenizer.size)]
    for scores in log_probabilities(parameters, config, sequences, range(tokenizer.size), asked=asked, mixed=mixed):
        yield _likeliest(scores[0], pieces, top)


def _likeliest(scores: np.ndarray, texts: Sequence[str], top: int) -> list[Expected]:
    order = np.argsort(-scores, kind="stable")[:top]
    return [Expected(texts[index], float(np.exp(scores[index]))) for index in order]


def compare(
    parameters: Parameters,
    config: ModelConfig,
    tokenizer: ItemsTokenizer,
    training: Iterable[str],
    held_out: Iterable[str],
    top: int,
    *,
    asked: str = AUTO,
    mixed: Mixed | None = None,
) -> Comparison:
    """Rank the item of every event of held-out histories, the first events included, by the model and by baselines.

    Args:
        training: the histories that the model was trained on, of which the baselines take their counts.
        held_out: other histories.
        top: an item counts as a hit if it is among so many.
        mixed: counting, with which the model is mixed.

    Raises:
        TinyError: there are no events, or no item is known.
    """
    held_out = list(held_out)
    if not held_out or not tokenizer.items:
        raise TinyError(
            "The next items cannot be measured",
            expected="held-out histories, and items that occur at least twice",
            got=f"{len(held_out)} held-out histories, {len(tokenizer.items)} known items",
            remedy="Give more rows, or hold out more (--held-out)",
        )
    candidates = [piece.decode() for piece in tokenizer.item_pieces]
    predictors = baselines([items_of(text) for text in training], candidates)
    accuracies = {name: Accuracy(top) for name in ("model", *(predictor.name for predictor in predictors))}
    sequences = (([tokenizer.bos, *tokenizer.encode(text)], tokenizer.item_places(text)) for text in held_out)
    rows = log_probabilities(parameters, config, sequences, tokenizer.items, asked=asked, mixed=mixed)
    unknown = 0
    for text, scores in zip(held_out, rows, strict=True):
        items = items_of(text)
        targets = [index - tokenizer.items.start if index >= 0 else -1 for index in tokenizer.known_items(text)]
        unknown += targets.count(-1)
        accuracies["model"].add(list(scores), targets)
        for predictor in predictors:
            accuracies[predictor.name].add([predictor.scores(items[:place]) for place in range(len(items))], targets)
    events = accuracies["model"].events
    return Comparison(len(held_out), events, len(candidates), unknown / events, accuracies)


def items_of(text: str) -> list[str]:
    """The item of each event of a history, as it is written there."""
    return [line.partition("\t")[0] for line in text.split("\n")]
