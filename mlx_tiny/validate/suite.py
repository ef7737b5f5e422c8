"""All layers, from the smallest part to the whole, so that the first failure names the smallest wrong part."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mlx_tiny.data.batches import BatchStream
from mlx_tiny.data.prepared import require_sequence
from mlx_tiny.model.mixing import FEATURES, Gate
from mlx_tiny.ops.conformance import Result, to_float64
from mlx_tiny.reference.checkpoint import load_checkpoint, load_weights, read_arrays
from mlx_tiny.tolerances import bounds
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counting_file import counting_path, read_counting
from mlx_tiny.training.own_text import own_text
from mlx_tiny.validate import kernels, models, operations, optimizers, strength, trajectory
from mlx_tiny.validate.models import ModelCase
from mlx_tiny.validate.strength import Counted, Trained
from mlx_tiny.validate.table import Comparison
from mlx_tiny.validate.trajectory import Training

TITLES = {
    kernels.LAYER: "this GPU's results against formulas in float64",
    operations.LAYER: "outputs, and gradients for random cotangents, against formulas in float64",
    models.LAYER: "fresh models of all presets against the reference in float64",
    optimizers.LAYER: f"{optimizers.STEPS} steps from the same state with the same gradients",
    trajectory.LAYER: "training by MLX and by PyTorch in float32, from the same weights on the same batches",
    strength.LAYER: "the same weights by MLX and by PyTorch in float32",
}
"""What each layer compares."""

_VALIDATION_TOKENS, _COUNTED_TOKENS = 3000, 30_000
_LINE_END = 10
"""The byte that begins a document for counting, where tokens are bytes."""
_GATE = Gate(tuple((-1) ** place * (place + 1) / 100 for place in range(FEATURES)))
# For a run: the longest context for which the bounds on angles hold, and tokens that both evaluate within seconds.
_LONGEST_WINDOW, _TOKENS_OF_A_RUN = 512, 8192


@dataclass(frozen=True)
class Run:
    """What is compared of a run."""

    case: ModelCase
    trained: Trained
    read_by_reference: Callable[[], dict[str, Tensor]]
    """Reads the same weights by the reference's own code."""


def open_run(folder: RunFolder, tell: Callable[[str], None] = lambda _: None, *, plain: bool = False) -> Run:
    """A run's weights, a batch of its training data, and the beginning of its validation data.

    Args:
        plain: the model alone, without the run's counting.
        tell: called with a line where the weights are not those of a finished run.

    Raises:
        TinyError: weights or data missing, damaged, changed, or of another version.
    """
    weights = folder.load_weights(tell)
    data = own_text(folder)
    corpus = data.parts[0].corpus
    config = folder.config
    require_sequence(data.parts, config.model.context)
    window = min(config.model.context, _LONGEST_WINDOW)
    batch = BatchStream(corpus.train, batch_size=models.SEQUENCES, context=window, seed=config.train.seed).next_batch()
    tokens = corpus.valid[: _TOKENS_OF_A_RUN + 1]
    # The run may have been trained by the reference; here the MLX code is checked.
    train = replace(config.train, backend="mlx", implementation="auto")
    return Run(
        ModelCase(folder.path.resolve().name, replace(config, train=train), weights, batch),
        Trained(
            config.model,
            weights,
            tokens,
            (len(tokens) - 1) * corpus.bytes_per_token,
            None if plain else _counted(folder),
        ),
        functools.partial(_read_by_reference, folder, plain),
    )


def _counted(folder: RunFolder) -> Counted | None:
    """The gate of a run and the first of its counted tokens, which the reference counts in a second."""
    found = read_counting(folder)
    if found is None:
        return None
    tokens, gate = found
    return Counted(tokens[:_COUNTED_TOKENS], gate, folder.load_tokenizer().bos)


def _read_by_reference(folder: RunFolder, plain: bool) -> dict[str, Tensor]:
    if folder.has_ended():
        counted = not plain and counting_path(folder).exists()
        counting = read_arrays(counting_path(folder))[0] if counted else {}
        weights = load_weights(folder.weights, folder.config.model)
        return weights | {f"counting.{name}": torch.from_numpy(array.astype(float)) for name, array in counting.items()}
    return load_checkpoint(folder.checkpoint("last"), folder.config, folder.identity())[0].parameters


def comparisons(run: Run | None, training: Training) -> Iterator[Comparison]:
    """Everything that can be compared on this machine.

    Args:
        run: its weights and data are compared too; None leaves it out.
        training: compared in layer 4; its model is evaluated in layer 5.
    """
    yield from operations.comparisons()
    if run:
        yield Comparison(models.LAYER, "weights as read", run.case.name, "float32", functools.partial(_read, run))
    yield from models.comparisons(run.case if run else None)
    yield from optimizers.comparisons()
    yield from training.comparisons()
    yield from strength.comparisons(f"after step {training.steps}", lambda: _ended(training), counted=True)
    if run:
        yield from strength.comparisons(run.case.name, lambda: run.trained, counted=run.trained.counted is not None)


def _read(run: Run) -> list[Result]:
    read, allowed, counted = run.read_by_reference(), bounds("weights as read", "float32"), run.trained.counted
    ours = {name: to_float64(weight) for name, weight in run.case.weights.items()}
    if counted is not None:
        read["counting.tokens"] = read["counting.tokens"][: len(counted.tokens)]
        ours |= {"counting.tokens": counted.tokens, "counting.gate": np.array(counted.gate.weights)}
    return [Result(name, array, to_float64(read[name]), allowed) for name, array in ours.items()]


def _ended(training: Training) -> Trained:
    """The weights at the end of a training, and stories that were not in it."""
    tokens = trajectory.story_bytes(_VALIDATION_TOKENS + 1, seed=1)
    counted = Counted(trajectory.story_bytes(_COUNTED_TOKENS, seed=2), _GATE, _LINE_END)
    return Trained(training.config.model, training.curves.weights, tokens, len(tokens) - 1, counted)
