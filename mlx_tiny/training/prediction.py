"""What a model expects next: after each event of a history, or after a text."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.config import ModelConfig
from mlx_tiny.data.batches import padded_length
from mlx_tiny.model.forward import logits
from mlx_tiny.model.memory import lanes_at_once
from mlx_tiny.model.mixing import Mixed, log_softmax
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.ops.implementations import AUTO, decide
from mlx_tiny.training.device_errors import evaluated

_SEQUENCES_AT_ONCE = 256
_BATCH_TOKENS = 2048
_LEAST_KEPT = 3 / 4
"""Share of the context that is read again where the window moves on, so that no prediction has less before it."""


class _Window(NamedTuple):
    length: int
    """To which it is padded."""
    sequence: int
    start: int
    predicted: tuple[int, ...]
    """Numbers of the places, in the list of the sequence's places, that are predicted in this window."""


def log_probabilities(
    parameters: Parameters,
    config: ModelConfig,
    sequences: Iterable[tuple[Sequence[int], Sequence[int]]],
    wanted: range,
    *,
    asked: str = AUTO,
    mixed: Mixed | None = None,
) -> Iterator[NDArray[np.float64]]:
    """The probabilities of some tokens at some places, each predicted from at least three quarters of a context.

    Args:
        parameters: float32.
        sequences: each the ids of a text after a BOS, and the places in it, rising and from 1 to the number of ids; the
            place p is predicted from the p ids before it.
        wanted: the ids whose probabilities are returned.
        asked: implementations of the operations, in the form of `--implementation`.
        mixed: counting, with which the model is mixed.

    Yields:
        For each sequence float64 [places, W], natural logarithms of the probabilities among all V tokens.
    """
    remaining = iter(sequences)
    while chunk := list(itertools.islice(remaining, _SEQUENCES_AT_ONCE)):
        found = [np.empty((len(places), len(wanted))) for _, places in chunk]
        windows = sorted(
            window for number, (_, places) in enumerate(chunk) for window in _windows(number, places, config.context)
        )
        for length, members in itertools.groupby(windows, lambda window: window.length):
            group = list(members)
            for start in range(0, len(group), rows := max(1, _BATCH_TOKENS // length)):
                part = group[start : start + rows]
                for window, log_PV in zip(part, _read(parameters, config, chunk, part, asked, mixed), strict=True):
                    found[window.sequence][list(window.predicted)] = log_PV[:, wanted.start : wanted.stop]
        yield from found


def _windows(sequence: int, places: Sequence[int], context: int) -> Iterator[_Window]:
    """Windows in which every place has all ids before it, or most of a context."""
    start, predicted, last = 0, list[int](), 0
    for number, place in enumerate(places):
        if place - start > context:
            if predicted:
                yield _Window(padded_length(last - start, context), sequence, start, tuple(predicted))
            start, predicted = place - max(1, int(context * _LEAST_KEPT)), []
        predicted.append(number)
        last = place
    if predicted:
        yield _Window(padded_length(last - start, context), sequence, start, tuple(predicted))


def _read(
    parameters: Parameters,
    config: ModelConfig,
    sequences: Sequence[tuple[Sequence[int], Sequence[int]]],
    windows: Sequence[_Window],
    asked: str,
    mixed: Mixed | None,
) -> Iterator[NDArray[np.float64]]:
    """The log-probabilities of all tokens at the places of each window, [P, V]."""
    length = windows[0].length
    token_BT = np.zeros((len(windows), length), np.int32)
    for row, window in zip(token_BT, windows, strict=True):
        ids = sequences[window.sequence][0][window.start : window.start + length]
        row[: len(ids)] = ids
    shape = dataclasses.replace(config, context=length)
    lanes_at_once(shape, len(windows), asked=asked)  # raises where they do not fit
    implementations = decide(shape, batch=len(windows), asked=asked)
    scores_BTV, _ = logits(parameters, config, mx.array(token_BT), implementations)
    chosen = []
    for number, window in enumerate(windows):
        places = sequences[window.sequence][1]
        chosen.append(scores_BTV[number][mx.array([places[index] - 1 - window.start for index in window.predicted])])
    for window, scores_PV in zip(windows, evaluated(chosen), strict=True):
        if mixed is None:
            yield log_softmax(scores_PV)
        else:
            ids, places = sequences[window.sequence]
            before = [ids[: places[index]] for index in window.predicted]
            yield np.stack([mixed.log_probabilities(*pair) for pair in zip(before, scores_PV, strict=True)])
