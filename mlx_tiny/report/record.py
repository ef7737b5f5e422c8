"""What a run's `report.json` holds."""

from __future__ import annotations

from dataclasses import dataclass

from mlx_tiny.config import RunConfig
from mlx_tiny.machine.description import Machine
from mlx_tiny.records import Record


@dataclass(frozen=True)
class Report(Record):
    """What a run was, how strong its model is, and what it cost; the order is that of the file."""

    kind = "run"
    version = 1

    bits_per_byte: float
    entropy_floor_bits_per_byte: float | None
    """Exact entropy of the validation text, where it was generated."""
    excess_bits_per_byte: float | None
    """What the model needs beyond it; None after an interruption, when only the text's beginning was measured."""
    perplexity_per_token: float
    evaluated_tokens: int
    evaluated_whole_file: bool
    evaluation_fingerprint: str
    """Results are comparable where it is the same; see `training/evaluate.py`."""
    weights_from: str
    """`last`, or `best` where an earlier checkpoint was better."""
    interrupted: bool
    data: str
    budget: str
    """Of the last session: a resumed run may have been given another than it was started with."""
    steps: int
    tokens: int
    epochs: float
    flops: float
    seconds: float
    tokens_per_s: float
    training_flops_per_s: float
    peak_flops_per_s: float
    """Of matrix products, as measured in the same session."""
    utilisation: float | None
    """The former over the latter."""
    parameters: int
    parameters_by_group: dict[str, int]
    multiply_adds_per_token: float
    training_flops_per_token: float
    peak_memory_bytes: int
    phases_s: dict[str, float]
    backend: str
    implementations: dict[str, str]
    """What computed each operation of a training step."""
    machine: Machine
    samples: list[str]
    config: RunConfig
