"""What is exported: the neural part of a trained model, and how its numbers are to be written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlx_tiny.report.record import Report
from mlx_tiny.training.trained import TrainedModel

DTYPES = ("float32", "float16", "bfloat16", "q8_0")
"""How weights can be written; the last in GGUF only."""


@dataclass(frozen=True)
class Export:
    """A model that is to be written for other programs."""

    model: TrainedModel
    """Counting is never exported."""
    report: Report | None = None
    """None where the run has not written one about these weights."""
    dtype: str = "float32"
    """One of `DTYPES`."""
    custom_code: bool = False
    """Whether files of Python with the model are written beside the weights, which the reader has to trust."""


@dataclass(frozen=True)
class Contents:
    """What makes a folder of a model, without its tokenizer and its card."""

    weights: dict[str, np.ndarray]
    """Float32, by the names of the program that reads them."""
    config: dict[str, Any]
    """`config.json`, without dtype, and without BOS and EOS."""
    files: dict[str, str] = field(default_factory=dict)
    """Further files, such as code, by name."""
