"""Every setting with its default, in frozen dataclasses that check their values; one file per section.

The docstring of a field is the help text of its flag.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mlx_tiny.config.checks import require
from mlx_tiny.config.data import TOKENIZERS, DataConfig
from mlx_tiny.config.model import ModelConfig
from mlx_tiny.config.optimizer import OptimizerConfig
from mlx_tiny.config.sampling import Sampling
from mlx_tiny.config.schedule import ScheduleConfig
from mlx_tiny.config.train import BACKENDS, DTYPES, GROWTH, TrainConfig

__all__ = [
    "BACKENDS",
    "DTYPES",
    "FORMAT_VERSION",
    "TOKENIZERS",
    "DataConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RunConfig",
    "Sampling",
    "ScheduleConfig",
    "TrainConfig",
]

FORMAT_VERSION = 3


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, as saved in its folder."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        train, context = self.train, self.model.context
        require(
            not train.short_sequences or context % max(GROWTH) == 0,
            "short_sequences",
            f"0, because {max(GROWTH)} does not divide the context ({context})",
            train.short_sequences,
        )
        require(
            not train.small_batches or train.batch_size > train.micro_batches,
            "small_batches",
            "0 where each part of a batch is one sequence already",
            train.small_batches,
        )
