"""One operation at one shape: its inputs, what it costs, who can compute it here, and how MLX is made to."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.bench.references import Arrays
from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import lane, on_cpu, shares

FORWARD, BOTH, UPDATE = "forward", "forward and backward", "update"
TORCH = "torch eager"
"""The implementation of PyTorch, which runs operation by operation; `bench step` has a compiled one too."""

Inputs = dict[str, NDArray[Any]]
Named = dict[str, mx.array]
Function = Callable[[Named], Named]
"""From inputs to outputs, by name."""


@dataclass(frozen=True)
class Operation:
    """An operation as a training step of a preset meets it.

    Names of results are those of the outputs, and "gradient of X" for inputs X of `differentiable`.
    """

    name: str
    direction: str
    """`forward`, `forward and backward`, or `update`."""
    preset: str
    shape: str
    """Dimensions by the legend of `model.py`."""
    dtype: str
    inputs: Inputs
    """float32 (already rounded to `dtype`) or int32."""
    reference: Callable[[Arrays, Arrays], Arrays]
    """Results in float64 from inputs and cotangents."""
    implementations: dict[str, Function | str]
    """MLX's, or why one cannot run here."""
    flops: float
    """Model FLOPs."""
    least_bytes: float
    tolerances: tuple[str, str]
    """Names of the bounds, in `tolerances.py`, of outputs and of gradients."""
    batched: tuple[str, ...] = ()
    """Inputs and outputs whose first axis is that of the windows, which lanes share out."""
    differentiable: tuple[str, ...] = ()
    cotangents: Inputs = field(default_factory=dict)
    """Of each output, float32."""
    executed_flops: dict[str, float] = field(default_factory=dict)
    """By implementation, where it is known."""
    fixed_dtypes: tuple[str, ...] = ()
    """Inputs that stay as they are, whatever `dtype` says."""

    @property
    def backward(self) -> bool:
        """Whether gradients are computed too."""
        return self.direction == BOTH

    @property
    def windows(self) -> int:
        """Windows that lanes can share out; 1 where there is nothing to share."""
        return next((len(self.inputs[name]) for name in self.batched if name in self.inputs), 1)

    @property
    def checked_windows(self) -> list[int]:
        """The windows whose results are held against the reference: the first, and the last of each lane."""
        return sorted({0, *(end - 1 for end in itertools.accumulate(shares(self.windows)))})

    def is_batched(self, result: str) -> bool:
        """Whether a result has one part for each window."""
        return result.removeprefix("gradient of ") in self.batched

    def expected(self) -> Arrays:
        """The reference's results, for the checked windows alone."""
        chosen = self.checked_windows

        def wide(arrays: dict[str, NDArray[Any]]) -> Arrays:
            return {
                name: (array[chosen] if name in self.batched else array).astype(np.float64)
                for name, array in arrays.items()
            }

        results = self.reference(wide(self.inputs), wide(self.cotangents))
        return results if self.backward else {n: a for n, a in results.items() if not n.startswith("gradient of ")}

    def checking_cotangents(self) -> dict[str, NDArray[Any]]:
        """The cotangents, zero outside the checked windows, so that shared gradients come from those alone."""
        kept = {}
        for name, array in self.cotangents.items():
            kept[name] = np.zeros_like(array)
            kept[name][self.checked_windows] = array[self.checked_windows]
        return kept


class MlxRunner:
    """One of MLX's implementations, ready to be checked and timed as a training step would run it: a part of the
    windows on each lane, compiled where that works.

    Args:
        function: one of the operation's `implementations`.
        calls: how many times one evaluation computes the operation.
    """

    def __init__(self, operation: Operation, function: Function, *, compiled: bool, calls: int = 1) -> None:
        self.operation, self.function, self.calls = operation, function, calls
        self._count = len(shares(operation.windows)) if operation.batched else 1
        self._parts = self._split(operation.inputs)
        self._cotangents = self._split(operation.cotangents if operation.backward else {})
        self._evaluate: Callable[..., dict[str, list[mx.array]]] = mx.compile(self._build) if compiled else self._build

    def __call__(self) -> None:
        """Compute the operation `calls` times and wait."""
        mx.eval([self._evaluate(self._parts, self._cotangents) for _ in range(self.calls)])

    def results(self) -> dict[str, NDArray[Any]]:
        """All results for the checking cotangents, as float32."""
        kept = self._split(self.operation.checking_cotangents() if self.operation.backward else {})
        results = self._evaluate(self._parts, kept)
        mx.eval(results)
        return {
            name: np.concatenate([np.array(part.astype(mx.float32)) for part in parts])
            for name, parts in results.items()
        }

    def peak_memory_bytes(self) -> int:
        """Most memory that MLX held during one computation, beyond what it held before."""
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        results = self._evaluate(self._parts, self._cotangents)
        mx.eval(results)
        return max(0, mx.get_peak_memory() - before)

    def _split(self, arrays: dict[str, NDArray[Any]]) -> list[Named]:
        """The arrays in MLX, one dictionary a lane."""
        parts: list[Named] = [{} for _ in range(self._count)]
        for name, array in arrays.items():
            batched = name in self.operation.batched
            pieces = np.array_split(array, self._count) if batched else [array] * self._count
            for part, piece in zip(parts, pieces, strict=True):
                part[name] = self._converted(name, piece)
        mx.eval(parts)
        return parts

    def _converted(self, name: str, array: NDArray[Any]) -> mx.array:
        keeps_type = array.dtype != np.float32 or name in self.operation.fixed_dtypes
        return mx.array(array) if keeps_type else mx.array(array).astype(getattr(mx, self.operation.dtype))

    def _build(self, parts: Sequence[Named], cotangents: Sequence[Named]) -> dict[str, list[mx.array]]:
        results: dict[str, list[mx.array]] = {}
        for index, (inputs, cotangent) in enumerate(zip(parts, cotangents, strict=True)):
            with lane(index):
                for name, array in self._of_a_lane(inputs, cotangent).items():
                    results.setdefault(name, []).append(array)
        # Gradients of what all lanes share are added up, as in a step.
        return {
            name: arrays if self.operation.is_batched(name) or len(arrays) == 1 else [sum(arrays[1:], start=arrays[0])]
            for name, arrays in results.items()
        }

    def _of_a_lane(self, inputs: Named, cotangent: Named) -> Named:
        if not self.operation.backward:
            return self.function(inputs)
        names, outputs = self.operation.differentiable, list(cotangent)

        def listed(*arrays: mx.array) -> list[mx.array]:
            results = self.function({**inputs, **dict(zip(names, arrays, strict=True))})
            return [results[name] for name in outputs]

        values, gradients = mx.vjp(listed, [inputs[name] for name in names], [cotangent[name] for name in outputs])
        gradient_names = (f"gradient of {name}" for name in names)
        return {**dict(zip(outputs, values, strict=True)), **dict(zip(gradient_names, gradients, strict=True))}


def drawn(shapes: Mapping[str, tuple[int, ...]], dtype: str, deviations: dict[str, float] | None = None) -> Inputs:
    """Normal numbers, in float32 but rounded to `dtype`."""
    generator = np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        drawn = generator.standard_normal(shape, dtype=np.float32) * np.float32((deviations or {}).get(name, 1.0))
        arrays[name] = np.array(mx.array(drawn).astype(getattr(mx, dtype)).astype(mx.float32))
    return arrays


def available(
    names: Iterable[str], function: Callable[[str, Named], Named], arrays: Inputs, dtype: str
) -> dict[str, Function | str]:
    """Each implementation, or why it cannot run here, found out by asking it for one window."""
    found: dict[str, Function | str] = {}
    window = {name: mx.array(array) for name, array in arrays.items()}
    floats = {n: a.astype(getattr(mx, dtype)) for n, a in window.items() if a.dtype == mx.float32}
    tables: Named = {name: window[name] for name in ("cosine", "sine") if name in window}
    for name in names:
        if name == "auto":
            continue
        if name == "cpu" and not on_cpu():
            found[name] = "made for the CPU, and MLX computes on a GPU here"
            continue
        try:
            function(name, {**window, **floats, **tables})  # builds a graph, and evaluates nothing
            found[name] = functools.partial(function, name)
        except TinyError as error:
            found[name] = error.failed + (f" ({error.got})" if error.got else "")
    return found
