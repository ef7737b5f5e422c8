"""The description of a parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ParameterSpec:
    """One array of parameters: its shape, its initialisation, its optimizer and its layers."""

    shape: tuple[int, ...]
    group: str
    """Name of its group in the counts of reports."""
    rate: str
    """Field of `OptimizerConfig` with its learning rate under AdamW."""
    std: float = 0.0
    """Standard deviation of the random numbers at the start; 0 if it starts as a constant."""
    start: float = 0.0
    """Its value at the start if `std` is 0."""
    decays: bool = False
    """Whether AdamW applies weight decay."""
    layers: tuple[int, ...] = ()
    """The layers that have it, one per entry of the first axis; empty if it belongs to the whole model."""
    blocks: tuple[int, ...] = ()
    """Rows of each of the matrices in a layer, which Muon trains; empty if AdamW trains it."""

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)
