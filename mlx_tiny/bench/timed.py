"""The operations that `bench kernels` times, with the shapes of a preset."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.bench.parts import ADAMW, MLP
from mlx_tiny.config import OptimizerConfig
from mlx_tiny.config.presets import Preset
from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import shares
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.ops.conformance import GRADIENT, numbers, to_float64
from mlx_tiny.ops.muon import NEWTON_SCHULZ
from mlx_tiny.ops.operation import Case, Exact, Named, Operation, least_bytes
from mlx_tiny.ops.registry import everything
from mlx_tiny.optim.optimizer import muon_layout

FORWARD, BOTH, UPDATE = "forward", "forward and backward", "update"
OPERATIONS = {operation.name: operation for operation in (*everything(), MLP, ADAMW) if operation.proof.rivals}
"""What can be timed: the operations that another library computes too, and two larger parts of a step."""


@dataclass(frozen=True)
class Timed:
    """An operation with the shapes of a preset's training step, in one direction."""

    operation: Operation
    case: Case
    direction: str
    """`forward`, `forward and backward`, or `update`."""
    preset: str

    @property
    def name(self) -> tuple[str, str, str, str]:
        """Its unique name."""
        return self.operation.name, self.direction, self.preset, self.case.dtype

    @property
    def backward(self) -> bool:
        """Whether gradients are included."""
        return self.direction == BOTH

    @property
    def flops(self) -> float:
        """Model FLOPs."""
        return self.operation.proof.flops(self.case, self.backward)

    @property
    def least_bytes(self) -> float:
        """Bytes that must be moved."""
        return least_bytes(self.operation, self.case, self.backward)

    @property
    def least_launches(self) -> int:
        """The fewest launches: one, and another one for gradients."""
        return 2 if self.backward else 1

    @property
    def lane_sequences(self) -> list[int]:
        """Number of sequences per lane; one lane takes everything if the operation has no sequences."""
        shared = any(array.by_sequence for array in self.operation.proof.inputs(self.case).values())
        return shares(self.case.batch) if shared else [self.case.batch]

    @property
    def checked_sequences(self) -> list[int]:
        """The sequences whose results are checked, to save time: the first, and the last of each lane."""
        return sorted({0, *(end - 1 for end in itertools.accumulate(self.lane_sequences))})

    def by_sequence(self, result: str) -> bool:
        """Whether a result or input has a part per sequence."""
        proof = self.operation.proof
        return {**proof.inputs(self.case), **proof.outputs(self.case)}[result.removeprefix(GRADIENT)].by_sequence

    def of_sequences(self, name: str, array: Any, chosen: Sequence[int]) -> Any:
        """The part of a numpy array for these sequences; the whole array if it has no part per sequence."""
        if not self.by_sequence(name):
            return array
        return array.reshape(self.case.batch, -1, *array.shape[1:])[chosen].reshape(-1, *array.shape[1:])

    @functools.cached_property
    def _numbers(self) -> tuple[Named, Named]:
        return numbers(self.operation, self.case)

    @property
    def inputs(self) -> Named:
        """The inputs of all sequences."""
        return self._numbers[0]

    @property
    def cotangents(self) -> Named:
        """Cotangents of the outputs; empty without gradients."""
        return self._numbers[1] if self.backward else {}

    @property
    def checking_cotangents(self) -> Named:
        """Zero outside of the checked sequences, so that the gradients of shared arrays can be checked."""
        chosen, kept = np.isin(np.arange(self.case.batch), self.checked_sequences), {}
        for name, array in self.cotangents.items():
            rows = mx.array(chosen.repeat(len(array) // len(chosen)))
            kept[name] = mx.where(rows.reshape(-1, *[1] * (array.ndim - 1)), array, mx.zeros_like(array))
        return kept

    def expected(self) -> Exact:
        """Results of the formula in float64 for the checked sequences."""
        inputs, cotangents = (
            {name: self.of_sequences(name, to_float64(array), self.checked_sequences) for name, array in arrays.items()}
            for arrays in self._numbers
        )
        results = self.operation.proof.formula(inputs, cotangents, self.operation.proof.settings(self.case))
        return {name: array for name, array in results.items() if self.backward or not name.startswith(GRADIENT)}


def of_preset(preset: Preset, dtype: str, names: Iterable[str] | None = None) -> Iterator[Timed]:
    """The operations of a preset's training step.

    Args:
        dtype: of activations; the optimizer always uses float32.
        names: names in `OPERATIONS`; by default all.

    Raises:
        TinyError: an unknown name.
    """
    chosen = list(OPERATIONS if names is None else names)
    for name in chosen:
        if name not in OPERATIONS:
            raise TinyError(f"Unknown operation {name!r}", expected=f"one of {', '.join(OPERATIONS)}")
    config = preset.config()
    model = config.model
    for operation in map(OPERATIONS.__getitem__, chosen):
        if operation.proof.differentiable:
            for direction in (FORWARD, BOTH):
                yield Timed(operation, Case(model, config.train.batch_size, dtype), direction, preset.name)
        else:
            layout = muon_layout(OptimizerConfig(), parameter_specs(model))
            options = {"layout": layout, "entry": f"{operation.name} of a preset"} if operation is NEWTON_SCHULZ else {}
            yield Timed(operation, Case(model, options=options), UPDATE, preset.name)
