"""Text that does not fit in memory is not computed, and less of it at once where only a part fits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import mlx.core as mx
import numpy as np
import pytest
from numpy_model import random_parameters, to_mlx
from tiny_run import MODEL, VOCABULARY

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import lanes
from mlx_tiny.machine import memory
from mlx_tiny.model.generate import Reader
from mlx_tiny.training import evaluate
from mlx_tiny.training.prediction import log_probabilities

PARAMETERS = to_mlx(random_parameters(MODEL, seed=2))
LONG = dataclasses.replace(MODEL, context=65536)
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, 30 * MODEL.context).astype(np.uint16)


def test_fewer_lanes_compute_at_once_where_only_their_windows_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = list[int]()

    def counted(losses: list[mx.array]) -> list[np.ndarray]:
        counts.append(len(losses))
        return [np.asarray(each, np.float64) for each in losses]

    def nats(room: int) -> float:
        monkeypatch.setattr("mlx_tiny.model.memory.room_bytes", lambda: room)
        return evaluate.evaluate(PARAMETERS, MODEL, TOKENS, 1, batch_tokens=2 * MODEL.context).nats

    monkeypatch.setattr(evaluate, "evaluated", counted)
    whole = nats(1 << 40)
    assert max(counts) == len(lanes())
    counts.clear()
    assert nats(0) == whole and max(counts) == 1


@pytest.mark.parametrize(
    "compute",
    [
        lambda: evaluate.evaluate(PARAMETERS, LONG, TOKENS, 1),
        lambda: next(log_probabilities(PARAMETERS, LONG, [([1] * 60000, [60000])], range(1))),
        lambda: Reader(PARAMETERS, LONG).read([1] * 60000),
    ],
    ids=["evaluation", "prediction", "generation"],
)
def test_a_long_window_that_does_not_fit_is_refused(
    compute: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 1 << 29)
    with pytest.raises(TinyError, match="tokens of text at once does not fit"):
        compute()


def test_a_short_text_is_read_by_a_model_of_a_long_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2 << 30)
    assert Reader(PARAMETERS, LONG).read([1, 2]).shape == (VOCABULARY,)
