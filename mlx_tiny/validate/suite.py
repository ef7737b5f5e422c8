"""All layers in their order, from the smallest part to the whole, so that the first failure names the smallest part."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from mlx_tiny.data.batches import BatchStream
from mlx_tiny.data.prepare import prepare, require_sequence
from mlx_tiny.ops.conformance import Result, to_float64
from mlx_tiny.reference.checkpoint import load_checkpoint, load_weights
from mlx_tiny.tolerances import bounds
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.trainer import require_data_of
from mlx_tiny.validate import kernels, models, operations, optimizers, strength, trajectory
from mlx_tiny.validate.models import ModelCase
from mlx_tiny.validate.strength import Trained
from mlx_tiny.validate.table import Comparison
from mlx_tiny.validate.trajectory import Training

TITLES = {
    kernels.LAYER: "this GPU's results against formulas in float64",
    operations.LAYER: "outputs, and gradients for random cotangents, against formulas in float64",
    models.LAYER: "fresh models of all presets against the reference in float64",
    optimizers.LAYER: f"{optimizers.STEPS} steps from the same state with the same gradients",
    trajectory.LAYER: "training by both sides in float32, from the same weights on the same batches",
    strength.LAYER: "the same weights by both sides in float32",
}
"""What each layer compares."""

_VALIDATION_TOKENS = 3000
# Of a run: as long as the table's bounds on angles hold, and as much as both sides evaluate in seconds.
_LONGEST_WINDOW, _TOKENS_OF_A_RUN = 512, 8192


@dataclass(frozen=True)
class Run:
    """What is taken of a run's folder."""

    subject: ModelCase
    trained: Trained
    read_by_reference: Callable[[], dict[str, Tensor]]
    """The same weights, as the reference's own reader finds them."""


def open_run(folder: RunFolder) -> Run:
    """A run's weights, a batch of its training data, and the beginning of its validation data.

    Raises:
        TinyError: weights or data missing, damaged, changed, or of another version.
    """
    weights = folder.load_weights()
    corpus = prepare(folder.config.data)
    require_data_of(folder, corpus)
    config = folder.config
    require_sequence(corpus, config.model.context)
    window = min(config.model.context, _LONGEST_WINDOW)
    batch = BatchStream(corpus.train, batch_size=models.WINDOWS, context=window, seed=config.train.seed).next_batch()
    # What trained it may be the reference itself; here it is our side that is asked.
    train = replace(config.train, backend="mlx", implementation="auto")
    return Run(
        ModelCase(folder.path.resolve().name, replace(config, train=train), weights, batch),
        Trained(config.model, weights, corpus.valid[: _TOKENS_OF_A_RUN + 1], corpus.bytes_per_token),
        functools.partial(_read_by_reference, folder),
    )


def _read_by_reference(folder: RunFolder) -> dict[str, Tensor]:
    if folder.weights.exists():
        return load_weights(folder.weights, folder.config.model)
    return load_checkpoint(folder.checkpoint("last"), folder.config, folder.identity())[0].parameters


def comparisons(run: Run | None, training: Training) -> Iterator[Comparison]:
    """Everything that can be compared on this machine.

    Args:
        run: whose weights and data are compared too, if there is one.
        training: what layer 4 does, and layer 5 evaluates.
    """
    yield from operations.comparisons()
    if run:
        yield Comparison(models.LAYER, "weights as read", run.subject.name, "float32", functools.partial(_read, run))
    yield from models.comparisons(run.subject if run else None)
    yield from optimizers.comparisons()
    yield from training.comparisons()
    yield from strength.comparisons(f"after step {training.steps}", lambda: _ended(training))
    if run:
        yield from strength.comparisons(run.subject.name, lambda: run.trained)


def _read(run: Run) -> list[Result]:
    read, allowed = run.read_by_reference(), bounds("weights as read", "float32")
    return [
        Result(name, to_float64(weight), to_float64(read[name]), allowed)
        for name, weight in run.subject.weights.items()
    ]


def _ended(training: Training) -> Trained:
    """The weights that a training ended with, and stories that it did not see."""
    tokens = trajectory.story_bytes(_VALIDATION_TOKENS + 1, seed=1)
    return Trained(training.config.model, training.curves.weights, tokens, bytes_per_token=1.0)
