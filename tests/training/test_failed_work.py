"""Work of MLX that fails is an error, wherever its result is read: numpy alone would read garbage without a word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from tiny_run import MODEL, VOCABULARY

from mlx_tiny.config import Sampling
from mlx_tiny.model.generate import generate_tokens
from mlx_tiny.model.parameters import initialize
from mlx_tiny.training.evaluate import evaluate
from mlx_tiny.training.prediction import log_probabilities

TOKENS = np.arange(100, dtype=np.uint16)
Parameters = dict[str, mx.array]


@pytest.fixture
def parameters(tmp_path: Path) -> Iterator[Parameters]:
    """Parameters whose head cannot be computed, because its file is cut before it is read."""
    # MLX may raise the error once more at later work of the same stream, which would be that of another test.
    with mx.stream(mx.new_stream(mx.cpu)):
        found, path = initialize(MODEL, 0), tmp_path / "head.safetensors"
        mx.save_safetensors(str(path), {"head": found["head"]})
        cut: Any = mx.load(str(path))
        os.truncate(path, path.stat().st_size // 2)
        yield {**found, "head": cut["head"]}


@pytest.mark.parametrize(
    "read",
    [
        lambda parameters: generate_tokens(parameters, MODEL, [1, 2], Sampling(max_tokens=2)),
        lambda parameters: log_probabilities(parameters, MODEL, [([1, 2, 3], [2])], range(VOCABULARY)),
        lambda parameters: iter([evaluate(parameters, MODEL, TOKENS, 100.0)]),
    ],
    ids=["generate", "predict", "evaluate"],
)
def test_failed_work_is_an_error(parameters: Parameters, read: Callable[[Parameters], Iterable[object]]) -> None:
    with pytest.raises(RuntimeError, match="read"):
        list(read(parameters))
