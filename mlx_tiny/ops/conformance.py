"""Checks that an implementation of an operation computes the right results.

`check` compares every output and every gradient with the operation's formula in float64. It is used by `validate`, by
the tests and the emulator, and on a Mac before a Metal kernel is used.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.ops.operation import (
    Case,
    Device,
    Exact,
    Function,
    Named,
    Operation,
    converted,
    dtype_name,
    filled,
    here,
)
from mlx_tiny.tolerances import TABLE, Bounds, bounds, kernel_bounds

Array = NDArray[np.float64]
# Smaller results of a formula are rounding errors of zero; no case has such small inputs or results.
_ZERO = 1e-12
GRADIENT, _COTANGENT = "gradient of ", "cotangent of "


@dataclass(frozen=True)
class Result:
    """An array or number, and its right value."""

    name: str
    got: Array
    expected: Array
    bounds: Bounds
    fault: str = ""
    """An error that does not depend on the numbers; empty if there is none."""

    @property
    def magnitude(self) -> float:
        """The largest finite expected magnitude, to which errors are relative; 1 if only zeros are expected."""
        expected = np.asarray(self.expected)
        largest = float(np.abs(expected[np.isfinite(expected)]).max(initial=0.0))
        return largest if largest > _ZERO else 1.0

    @property
    def error(self) -> float:
        """Largest absolute error; infinite if a dtype, a shape, a NaN or an infinity is wrong."""
        return np.inf if self.fault else Bounds(0.0, 1.0, "in units of 1").excess(self.got, self.expected)

    @property
    def allowed(self) -> float:
        """Largest relative error that is allowed."""
        return self.bounds.relative + self.bounds.absolute / self.magnitude

    @property
    def excess(self) -> float:
        """The error as a multiple of what is allowed; see `Bounds.excess`."""
        return np.inf if self.fault else self.bounds.excess(self.got, self.expected)

    @property
    def passed(self) -> bool:
        return self.excess <= 1


def check(operation: Operation, implementation: str, case: Case) -> list[Result]:
    """Outputs, then gradients for random cotangents, each with the value of the formula in float64.

    Raises:
        TinyError: the implementation does not support the case, or cannot run here.
    """
    inputs, cotangents = numbers(operation, case)
    got = computed(operation, operation.by(implementation), case, inputs, cotangents)
    expected = operation.proof.formula(_exact(inputs), _exact(cotangents), operation.proof.settings(case))
    plain: Named = {}
    if implementation == "metal" and case.dtype != "float32":
        plain = computed(operation, operation.by("plain"), case, inputs, cotangents)
    results = []
    for name, right in expected.items():
        allowed = _allowed(operation, implementation, case, name, plain, right)
        results.append(
            Result(name, to_float64(got[name]), right, allowed, _wrong_type(operation, case, name, got[name]))
        )
    return results


def cases(operation: Operation, implementation: str, device: Device | None = None) -> Iterator[Case]:
    """The cases that an implementation supports on a device, by default this one."""
    device = device or here()
    for case in operation.proof.cases():
        only = operation.proof.specials[case.special].only if case.special else ()
        if only and implementation not in only:
            continue
        if operation.refusal(implementation, operation.situation(case, device)) is None:
            yield case


def failure(operation: Operation, implementation: str, case: Case) -> str | None:
    """A few words about the first wrong result; None if all are right."""
    for result in check(operation, implementation, case):
        if result.fault:
            return f"{operation.name}, {operation.title(case)}: {result.name} is {result.fault}"
        if not result.passed:
            times = f"{result.excess:.1f} times as far from its formula as {case.dtype} allows"
            return f"{operation.name}, {operation.title(case)}: {result.name} is {times}"
    return None


def _wrong_type(operation: Operation, case: Case, result: str, array: mx.array) -> str:
    """Words about a wrong dtype of an output or gradient; empty if it is right."""
    described = {**operation.proof.inputs(case), **operation.proof.outputs(case)}
    expected, got = described[result.removeprefix(GRADIENT)].dtype(case.dtype), dtype_name(array.dtype)
    return "" if got == expected else f"of type {got} instead of {expected}"


def numbers(operation: Operation, case: Case) -> tuple[Named, Named]:
    """The inputs of a case, and cotangents of the outputs if there are gradients; the same at every call."""
    proof = operation.proof
    inputs = proof.inputs(case)
    outputs = proof.outputs(case) if proof.differentiable else {}
    everything = {**inputs, **{_COTANGENT + name: array for name, array in outputs.items()}}
    seed = zlib.crc32(f"{operation.name} {proof.label(case)}".encode())
    arrays = converted(everything, filled(everything, case.dtype, seed), case.dtype)
    if case.special:
        arrays = proof.specials[case.special].change(arrays)
    return {name: arrays[name] for name in inputs}, {name: arrays[_COTANGENT + name] for name in outputs}


def computed(operation: Operation, function: Function, case: Case, inputs: Named, cotangents: Named) -> Named:
    """Outputs of a function with the operation's arguments and, if there are cotangents, gradients.

    Args:
        function: an implementation, or `operation.by(NAME)`, which checks its arguments.
        inputs: of the case or of some of its sequences, by name.
        cotangents: of each output; empty if gradients are not needed.
    """
    return with_gradients(operation, by_name(operation, function, case), case, inputs, cotangents)


def by_name(operation: Operation, function: Function, case: Case) -> Callable[[Named], Named]:
    """The same function with inputs and outputs by name."""
    proof = operation.proof
    settings, outputs = proof.settings(case), list(proof.outputs(case))

    def run(values: Named) -> Named:
        if proof.run is not None:
            return proof.run(function, values, settings)
        results = function(*values.values(), **settings)
        return dict(zip(outputs, [results] if isinstance(results, mx.array) else results, strict=True))

    return run


def with_gradients(
    operation: Operation, run: Callable[[Named], Named], case: Case, inputs: Named, cotangents: Named
) -> Named:
    """`computed` for a function that `by_name` returned."""
    if not cotangents:
        return run(inputs)
    names = [name for name, array in operation.proof.inputs(case).items() if array.differentiable]

    def listed(*arrays: mx.array) -> list[mx.array]:
        results = run({**inputs, **dict(zip(names, arrays, strict=True))})
        return [results[name] for name in cotangents]

    values, gradients = mx.vjp(listed, [inputs[name] for name in names], list(cotangents.values()))
    return {
        **dict(zip(cotangents, values, strict=True)),
        **dict(zip((GRADIENT + name for name in names), gradients, strict=True)),
    }


def entry(operation: Operation, implementation: str, case: Case, result: str) -> str:
    """The entry of the table of tolerances for a result."""
    special = operation.proof.specials[case.special].entry if case.special else ""
    name = special or case.options.get("entry") or operation.proof.entries[result.startswith(GRADIENT)]
    places = [f"{name} kernel"] if implementation == "metal" else [f"{name} on a GPU"] if here().kind != "cpu" else []
    return next((place for place in places if (place, "float32") in TABLE), name)


def _allowed(
    operation: Operation, implementation: str, case: Case, result: str, plain: Named, expected: Array
) -> Bounds:
    """Bounds of the table; for a kernel in 16 bits, bounds from the error of the plain implementation."""
    output = operation.proof.outputs(case).get(result)
    if output is not None and output.entry:
        return bounds(output.entry, "float32")
    name = entry(operation, implementation, case, result)
    if plain:
        return kernel_bounds(name, case.dtype, to_float64(plain[result]), expected)
    return bounds(name, case.dtype)


def _exact(arrays: Named) -> Exact:
    return {name: to_float64(array) for name, array in arrays.items()}


def to_float64(array: Any) -> Array:
    """The numbers of an array of MLX, numpy or PyTorch, of any dtype."""
    if isinstance(array, mx.array):
        array = np.array(array.astype(mx.float32) if mx.issubdtype(array.dtype, mx.floating) else array)
    elif not isinstance(array, np.ndarray):
        array = array.detach().cpu().double().numpy()
    wide: Array = array.astype(np.float64)
    return wide
