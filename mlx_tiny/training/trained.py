"""A trained model as commands and programs use it: weights, sizes and tokenizer of a run, which belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mlx_tiny.config import DataConfig, ModelConfig
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.machine.memory import require
from mlx_tiny.model.mixing import Mixed
from mlx_tiny.model.parameters import Parameters, parameter_count
from mlx_tiny.ops.implementations import beyond_training
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counting_file import load_counting
from mlx_tiny.training.memory import estimate_of_loading
from mlx_tiny.units import format_count


@dataclass(frozen=True, repr=False)
class TrainedModel:
    """The model of a run."""

    parameters: Parameters
    """Float32 and finite."""
    config: ModelConfig
    tokenizer: Tokenizer
    implementation: str
    """How to compute the operations, in the form of `--implementation`."""
    data: DataConfig = field(default_factory=DataConfig)
    """Settings of the text that it was trained on, which also hold where it is applied to other text."""
    single_lines: bool = False
    """Whether each document that it was trained on is a single line, such as a name."""
    mixed: Mixed | None = None
    """Counting, with which the model is mixed; None for the model alone."""
    run: Path | None = None
    """The folder that it was loaded from."""

    def __repr__(self) -> str:
        c = self.config
        shape = f"{c.layers} layers, width {c.width}, context {c.context}, vocabulary {c.vocabulary_size}"
        return f"TrainedModel({format_count(parameter_count(c))} parameters: {shape})"


def load_model(path: Path, tell: Callable[[str], None] = lambda _: None, *, plain: bool = False) -> TrainedModel:
    """Load the newest weights of the run in folder `path`, and its counting.

    Args:
        plain: leave counting out.
        tell: called with a line where the weights are not those of a finished run.

    Raises:
        TinyError: there is no run, it does not fit in memory, it is damaged, or its tokenizer is that of another; or a
            weight is NaN or infinite.
    """
    run = RunFolder(path)
    needed = estimate_of_loading(run.config).bytes
    require(f"The model of the run at {path}", needed, lambda _: "Use it on a machine with more memory")
    parameters = run.load_weights(tell)
    implementation = beyond_training(run.config.train.implementation)
    single_lines = run.corpus.single_lines
    sizes, data, folder = run.config.model, run.config.data, path.absolute()
    mixed = None if plain else load_counting(run, tell)
    return TrainedModel(parameters, sizes, run.load_tokenizer(), implementation, data, single_lines, mixed, folder)
