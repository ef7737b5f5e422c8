"""What is exported: the neural part of a trained model, and how its numbers are to be written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlx_tiny.errors import TinyError
from mlx_tiny.report.record import Report
from mlx_tiny.report.report import describes, read_report
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.trained import TrainedModel, load_model


@dataclass(frozen=True)
class Export:
    """A model that is to be written for other programs."""

    model: TrainedModel
    """Without counting, which is never exported."""
    name: str
    """Of the run."""
    counting: bool = False
    """Whether the run has counting, which is left out."""
    report: Report | None = None
    """None where the run has not written one about these weights."""
    dtype: str = "float32"
    """One of `target.DTYPES`."""
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


def load_export(
    path: Path, dtype: str = "float32", *, custom_code: bool = False, tell: Callable[[str], None] = lambda _: None
) -> Export:
    """The newest weights of the run in folder `path`, which are those that it hands over where it has ended.

    Args:
        tell: called with a line where the weights are not those of a finished run, or counting is left out.

    Raises:
        TinyError: one of the errors of `load_model`.
    """
    model, run, report = load_model(path, tell, plain=True), RunFolder(path), None
    with contextlib.suppress(TinyError):  # an export needs none
        found = read_report(run)
        report = found if describes(found, run) and not found.continued else None
    if run.config.train.counting:
        tell("counting, which the run mixes with the model, is left out: other programs do not know it")
    return Export(model, path.absolute().name, run.config.train.counting, report, dtype, custom_code)
