"""Log-probability of each document and of each of its tokens.

A document is scored alone, by the protocol of `evaluate.py`: a BOS before it and one after it, consecutive windows of
the model's context, every token but the first predicted once. So its score does not depend on the documents around it,
and its nats are those that `evaluate_texts` gives for it alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlx_tiny.config import ModelConfig
from mlx_tiny.data.batches import ValidationWindows, padded_length, validation_windows
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.linux.lanes import lanes
from mlx_tiny.model.forward import token_losses, token_predictions
from mlx_tiny.model.mixing import Mixed, Predictions
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.implementations import AUTO
from mlx_tiny.training.evaluate import BATCH_TOKENS, window_losses

_DOCUMENTS_AT_ONCE = 512


@dataclass(frozen=True)
class Score:
    """How likely a document is."""

    tokens: NDArray[np.uint16]
    """[n] what is predicted: the tokens of the text, and the BOS that ends it."""
    log_probabilities: NDArray[np.float64]
    """[n] natural logarithm of the probability of each token, given those before it in its window."""
    bytes: int
    """UTF-8 bytes of the text."""

    @property
    def log_probability(self) -> float:
        """Of the whole document, its end included."""
        return float(self.log_probabilities.sum())

    @property
    def bits_per_byte(self) -> float:
        """Infinite for an empty text, whose end is predicted too."""
        return -self.log_probability / math.log(2) / self.bytes if self.bytes else math.inf


def score_texts(
    parameters: Parameters,
    config: ModelConfig,
    tokenizer: Tokenizer,
    texts: Iterable[str],
    *,
    asked: str = AUTO,
    mixed: Mixed | None = None,
) -> Iterator[Score]:
    """Score documents, in their order; memory is that of a few hundred documents.

    Args:
        parameters: float32.
        texts: one per document.
        asked: implementations of the operations, in the form of `--implementation`.
        mixed: counting, with which the model is mixed.
    """
    boundary = np.array([tokenizer.bos], dtype=np.uint16)
    remaining = iter(texts)
    while chunk := list(itertools.islice(remaining, _DOCUMENTS_AT_ONCE)):
        documents = [
            np.concatenate([boundary, np.array(tokenizer.encode(text), dtype=np.uint16), boundary]) for text in chunk
        ]
        losses = _document_losses(parameters, config, documents, asked, mixed)
        for text, tokens, nats in zip(chunk, documents, losses, strict=True):
            yield Score(tokens[1:], -nats, len(text.encode()))


def _document_losses(
    parameters: Parameters, config: ModelConfig, documents: list[NDArray[np.uint16]], asked: str, mixed: Mixed | None
) -> list[NDArray[np.float64]]:
    """Nats of every token after the first of each document."""
    T = config.context
    function, rows_of_result = (token_losses, 1) if mixed is None else (token_predictions, len(Predictions._fields))
    found = [np.empty((rows_of_result, len(tokens) - 1)) for tokens in documents]
    # Of each window: the length to which it is padded, its document, and its place there.
    places = sorted(
        (padded_length(count - start, T), index, slice(start, min(start + T, count)))
        for index, count in enumerate(len(tokens) - 1 for tokens in documents)
        for start in range(0, count, T)
    )
    # Windows of about the same length are computed together, so that little is computed for nothing.
    for length, members in itertools.groupby(places, lambda place: place[0]):
        group = [(index, place) for _, index, place in members]
        windows = _stacked([documents[index][place.start : place.stop + 1] for index, place in group], length)
        rows = max(1, BATCH_TOKENS // length // len(lanes()))
        for part, values in window_losses(parameters, config, windows, rows, asked=asked, function=function):
            values_BRT = values.reshape(-1, *values.shape[-2:]).swapaxes(0, 1)
            for (index, place), values_RT in zip(group[part], values_BRT, strict=True):
                found[index][:, place] = values_RT[:, : place.stop - place.start]
    if mixed is None:
        return [losses for (losses,) in found]
    return [mixed.nats(tokens, Predictions(*said)) for tokens, said in zip(documents, found, strict=True)]


def _stacked(texts: list[NDArray[np.uint16]], length: int) -> ValidationWindows:
    """A window for each text, of which every token after the first is predicted."""
    inputs, targets, masks = zip(*(validation_windows(tokens, length) for tokens in texts), strict=True)
    return ValidationWindows(np.concatenate(inputs), np.concatenate(targets), np.concatenate(masks))
