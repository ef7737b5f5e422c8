"""Prepares implementations and rivals of an operation to be checked and timed."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.bench.timed import Timed
from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import compiled_function, lane
from mlx_tiny.ops.conformance import GRADIENT, by_name, to_float64, with_gradients
from mlx_tiny.ops.operation import Exact, Named, here

TORCH = "torch"
"""Name of the rival in PyTorch, which is not compiled; `bench step` has a compiled one too."""


class MlxRunner:
    """A function of MLX that runs as in a training step: some sequences on each lane, compiled if possible.

    Args:
        run: takes inputs and returns outputs, by name.
        calls: how many times an evaluation computes the operation.
    """

    def __init__(self, timed: Timed, run: Callable[[Named], Named], *, compiled: bool, calls: int = 1) -> None:
        self.timed, self.calls, self._run = timed, calls, run
        self._parts, self._cotangents = self._by_lane(timed.inputs), self._by_lane(timed.cotangents)
        self._evaluate: Callable[..., dict[str, list[mx.array]]] = (
            compiled_function(self._build) if compiled else self._build
        )

    def __call__(self) -> None:
        """Compute the operation `calls` times and wait."""
        mx.eval([self._evaluate(self._parts, self._cotangents) for _ in range(self.calls)])

    def results(self) -> Exact:
        """All results, where only the checked sequences have cotangents."""
        results = self._evaluate(self._parts, self._by_lane(self.timed.checking_cotangents))
        mx.eval(results)
        return {name: np.concatenate([to_float64(part) for part in parts]) for name, parts in results.items()}

    def peak_memory_bytes(self) -> int:
        """Peak memory of MLX during one computation, beyond the memory before it."""
        mx.clear_cache()
        mx.reset_peak_memory()
        before = mx.get_active_memory()
        results = self._evaluate(self._parts, self._cotangents)
        mx.eval(results)
        return max(0, mx.get_peak_memory() - before)

    def _by_lane(self, arrays: Named) -> list[Named]:
        """A dictionary per lane, with its sequences and the arrays that all lanes share."""
        counts, B = self.timed.lane_sequences, self.timed.case.batch
        parts: list[Named] = [{} for _ in counts]
        for name, array in arrays.items():
            pieces = [array] * len(counts)
            if self.timed.by_sequence(name):
                ends = [end * len(array) // B for end in itertools.accumulate(counts[:-1])]
                pieces = [mx.contiguous(piece) for piece in mx.split(array, ends)]
            for part, piece in zip(parts, pieces, strict=True):
                part[name] = piece
        mx.eval(parts)
        return parts

    def _build(self, parts: Sequence[Named], cotangents: Sequence[Named]) -> dict[str, list[mx.array]]:
        results: dict[str, list[mx.array]] = {}
        for index, (inputs, cotangent) in enumerate(zip(parts, cotangents, strict=True)):
            with lane(index):
                found = with_gradients(self.timed.operation, self._run, self.timed.case, inputs, cotangent)
                for name, array in found.items():
                    results.setdefault(name, []).append(array)
        # Gradients of shared arrays are summed, as in a step.
        return {
            name: arrays if self.timed.by_sequence(name) or len(arrays) == 1 else [sum(arrays[1:], start=arrays[0])]
            for name, arrays in results.items()
        }


class TorchRunner:
    """Like `MlxRunner`, for the rival in PyTorch on its best device; call `results` before it is timed."""

    def __init__(self, timed: Timed, calls: int = 1) -> None:
        from mlx_tiny.reference.backend import choose_device

        self.timed, self.calls, self.device = timed, calls, choose_device()
        function = timed.operation.proof.rivals[TORCH].function
        assert function is not None
        self._function = function
        self._inputs, self._cotangents = self._tensors(timed.inputs), self._tensors(timed.cotangents)

    def __call__(self) -> None:
        """Compute the operation `calls` times and wait."""
        for _ in range(self.calls):
            self._compute(self._cotangents)
        self._synchronize()

    def results(self) -> Exact:
        """All results, where only the checked sequences have cotangents."""
        cotangents = self._tensors(self.timed.checking_cotangents)
        return {name: to_float64(array) for name, array in self._compute(cotangents).items()}

    def peak_memory_bytes(self) -> int | None:
        """Peak memory of the device during one computation, beyond the memory before it; None except on CUDA."""
        import torch

        if self.device.type != "cuda":
            return None
        torch.cuda.reset_peak_memory_stats(self.device)
        before: int = torch.cuda.memory_allocated(self.device)
        self._compute(self._cotangents)
        self._synchronize()
        peak: int = torch.cuda.max_memory_allocated(self.device)
        return max(0, peak - before)

    def _compute(self, cotangents: dict[str, Any]) -> dict[str, Any]:
        import torch

        case = self.timed.case
        if not cotangents:
            with torch.no_grad():
                results: dict[str, Any] = self._function(self._inputs, case)
            return results
        inputs = self.timed.operation.proof.inputs(case)
        leaves = {n: self._inputs[n].detach().requires_grad_() for n, array in inputs.items() if array.differentiable}
        values = self._function({**self._inputs, **leaves}, case)
        outputs = [values[name] for name in cotangents]
        gradients = torch.autograd.grad(outputs, list(leaves.values()), list(cotangents.values()))
        return {**values, **dict(zip((GRADIENT + name for name in leaves), gradients, strict=True))}

    def _tensors(self, arrays: Named) -> dict[str, Any]:
        import torch

        tensors = {}
        for name, array in arrays.items():
            if array.dtype == mx.int32:
                tensors[name] = torch.from_numpy(np.array(array)).long().to(self.device)
            else:
                dtype = getattr(torch, str(array.dtype).removeprefix("mlx.core."))
                tensors[name] = torch.from_numpy(np.array(array.astype(mx.float32))).to(self.device, dtype)
        return tensors

    def _synchronize(self) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


Runner = MlxRunner | TorchRunner


def runners(timed: Timed, *, compiled: bool, calls: int = 1) -> Iterator[tuple[str, Callable[[], Runner] | str]]:
    """For each implementation and rival: its name, and a function that makes its runner or why it cannot run here."""
    operation, case = timed.operation, timed.case

    def of_mlx(run: Callable[[Named], Named]) -> Callable[[], Runner]:
        return functools.partial(MlxRunner, timed, run, compiled=compiled, calls=calls)

    for name, implementation in operation.implementations.items():
        if (refusal := operation.refusal(name, operation.situation(case, here()))) is not None:
            yield name, f"expects {refusal[0]}, got {refusal[1]}"
        else:
            yield name, of_mlx(by_name(operation, implementation.function, case))
    for name, rival in operation.proof.rivals.items():
        if rival.function is None:
            yield name, rival.why_not
        elif name == TORCH:
            yield name, why_no_torch() or functools.partial(TorchRunner, timed, calls)
        else:
            yield name, of_mlx(functools.partial(rival.function, case=case))


def why_no_torch() -> str | None:
    """Why PyTorch cannot be measured here; None if it can."""
    from mlx_tiny.reference.requirement import require_torch

    try:
        require_torch()
    except TinyError as error:
        return error.failed.removesuffix(", and the backend torch needs it")
    return None
