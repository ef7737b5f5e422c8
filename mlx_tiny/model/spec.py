"""What is known of a parameter before it exists."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class ParameterSpec:
    """One array of parameters: its shape, how it starts, who trains it, and where it belongs."""

    shape: tuple[int, ...]
    group: str
    """What it is, for counts in reports."""
    rate: str
    """Field of `OptimizerConfig` that is its learning rate under AdamW."""
    std: float = 0.0
    """Standard deviation of its normal initialisation; 0: it starts as a constant."""
    start: float = 0.0
    """The constant that it starts as."""
    decays: bool = False
    """Whether AdamW's weight decay shrinks it."""
    layers: tuple[int, ...] = ()
    """The layers that have it, one for each entry of its first axis; empty where it belongs to the whole model."""
    blocks: tuple[int, ...] = ()
    """Row counts of the matrices stacked in each layer's part, which Muon treats one by one; empty: not Muon's."""

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)
