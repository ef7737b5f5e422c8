"""The classes that describe an operation: its implementations, inputs, right results, and costs.

Each operation is described once, in its own folder. Training, the check before a kernel is used, `validate`, `bench`,
`profile` and the tests all read that description.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.linux import lanes, native
from mlx_tiny.machine.hardware import chip
from mlx_tiny.ops import metal

Function = Callable[..., Any]
"""Takes arrays by position and settings by name; returns an array or a sequence of arrays."""
Named = dict[str, mx.array]
Exact = dict[str, NDArray[np.float64]]
Settings = Mapping[str, Any]

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Device:
    """A device that computes operations; `here()` describes this one."""

    kind: str
    """`metal`, `cpu` or `cuda`."""
    generation: int | None = None
    """Such as 5 for an M5; None if it is not an Apple chip, or its name does not tell."""
    lanes: int = 1
    """Number of lanes; see `linux/lanes.py`."""
    native: bool = False
    """Whether there are operations in C++; see `linux/native.py`."""


@dataclass(frozen=True)
class Situation:
    """Everything on which the choice of an implementation depends."""

    device: Device
    dtype: str
    dimensions: tuple[tuple[str, int], ...] = ()
    """Dimensions by name: the letters of `model/forward.py`, such as T queries, S keys and K head width, or `rows`."""

    def __getitem__(self, letter: str) -> int:
        return dict(self.dimensions)[letter]

    @property
    def kind(self) -> str:
        return self.device.kind


@dataclass(frozen=True)
class Implementation:
    """A way to compute an operation; all implementations of an operation take the same arguments."""

    function: Function
    expects: Callable[[Situation], str | None] = lambda _: None
    """Takes a situation; returns None if it supports that, else what it expects instead."""
    device: str = ""
    """The only device where it runs, `metal` or `cpu`; empty if it runs anywhere."""


@dataclass(frozen=True)
class Rule:
    """When `auto` takes an implementation, and why. The first rule of an operation that holds decides."""

    implementation: str
    reason: str
    holds: Callable[[Situation], bool] = lambda _: True


@dataclass(frozen=True)
class ArraySpec:
    """The description of an input or output of an operation."""

    shape: tuple[int, ...]
    kind: str = ""
    """Empty if it has the dtype of the case; `float32` or `int32` if it always has that dtype."""
    std: float = 1.0
    """Standard deviation of its random numbers."""
    limit: int = 0
    """Random integers are from 0 to below this number."""
    values: Callable[[], Any] | None = None
    """Returns its numbers, if they are not random."""
    differentiable: bool = True
    entry: str = ""
    """For an output that is as exact as float32 in every dtype: its entry in the table of tolerances."""
    by_sequence: bool = True
    """Whether its first axis are the sequences, which are divided among lanes."""

    def dtype(self, dtype: str) -> str:
        """Its dtype in a case of this dtype."""
        return self.kind or dtype


@dataclass(frozen=True)
class Case:
    """A case of an operation: dimensions, dtype, and kind of inputs."""

    model: ModelConfig
    """Its dimensions; `context` is the number of queries T."""
    batch: int = 2
    """Number of sequences B."""
    dtype: str = "float32"
    special: str = ""
    """Name of special inputs of the operation; empty for random numbers."""
    past: int = 0
    """Number of keys before the first query, as from a cache."""
    options: Settings = field(default_factory=dict)
    """Further values for the description of the operation; `entry` names another entry of the table of tolerances."""

    @property
    def rows(self) -> int:
        """Number of positions in all sequences, N = B T."""
        return self.batch * self.model.context


@dataclass(frozen=True)
class Special:
    """Special inputs, which random numbers do not give."""

    change: Callable[[Named], Named]
    """Takes random inputs and cotangents by name, and returns the special ones."""
    entry: str = ""
    """Entry of the table of tolerances, if it is not that of the operation."""
    only: tuple[str, ...] = ()
    """The implementations that are checked with it; empty for all."""


@dataclass(frozen=True)
class Rival:
    """Another library's way to compute an operation, for comparison only."""

    function: Function | None
    """Takes the inputs by name and the case, and returns the outputs by name."""
    why_not: str = ""
    """Why there is no function."""


@dataclass(frozen=True)
class Proof:
    """How an operation is checked and timed.

    Results have the names of the outputs, and "gradient of X" for an input X.
    """

    label: Callable[[Case], str]
    """The dimensions of a case as text, such as "B2 T65 H4 G2 K32"."""
    inputs: Callable[[Case], dict[str, ArraySpec]]
    """By name, in the order of the arguments."""
    outputs: Callable[[Case], dict[str, ArraySpec]]
    settings: Callable[[Case], dict[str, Any]]
    formula: Callable[[Exact, Exact, Settings], Exact]
    """Computes the results in float64 by numpy, without code of any implementation."""
    cases: Callable[[], Iterable[Case]]
    """The cases with which every implementation is checked, if it supports them."""
    entries: tuple[str, str]
    """Entries of the table of tolerances for outputs and for gradients."""
    flops: Callable[[Case, bool], float]
    """Model FLOPs, which the result needs; the second argument says whether gradients are included."""
    specials: Mapping[str, Special] = field(default_factory=dict)
    executed_flops: Mapping[str, Callable[[Case, bool], float]] = field(default_factory=dict)
    """FLOPs that implementations and rivals execute, where that is known."""
    kernels: Mapping[str, str] = field(default_factory=dict)
    """Name of the Metal kernel for each result."""
    rivals: Mapping[str, Rival] = field(default_factory=dict)
    run: Callable[[Function, Named, Settings], Named] | None = None
    """Calls an implementation, if its arguments and results are not the inputs and outputs in their order."""
    before_use: Callable[[Situation], Iterable[Case]] = lambda _: ()
    """Cases with which Metal kernels are checked before they are used in a situation."""
    differentiable: bool = True

    @property
    def special_names(self) -> tuple[str, ...]:
        """Names of all special inputs."""
        return tuple(self.specials)


@dataclass(frozen=True)
class Operation:
    """An operation of the training step, or a part of an operation."""

    name: str
    """Its name in flags, tables, reports and folders."""
    summary: str
    """Its name in a sentence."""
    implementations: Mapping[str, Implementation]
    proof: Proof
    dimensions: Callable[..., dict[str, int]] = lambda *shapes, **settings: {}
    """Takes shapes and settings; returns the dimensions on which the choice of an implementation depends."""
    rules: tuple[Rule, ...] = ()
    """The rules of `auto`; empty for a part, which is chosen together with its operation."""
    check: Callable[..., object] = lambda *arrays, **settings: None
    """Raises a TinyError for wrong arguments."""
    parts: tuple[Operation, ...] = ()
    """Its parts, each with a description of its own."""

    def __call__(self, implementation: str, *arrays: Any, **settings: Any) -> Any:
        """Check the arguments, and compute by the named implementation.

        Raises:
            TinyError: an unknown implementation, or one that does not support these arguments or cannot run here.
        """
        self.check(*arrays, **settings)
        self.require(implementation, self._situation(here(), arrays, settings))
        return self.implementations[implementation].function(*arrays, **settings)

    def by(self, implementation: str) -> Function:
        """The function that calls the operation with this implementation."""
        return functools.partial(self.__call__, implementation)

    def implementation(self, name: str) -> Implementation:
        """The implementation of this name.

        Raises:
            TinyError: there is none.
        """
        if name not in self.implementations:
            raise TinyError(
                f"Unknown implementation {name!r} of {self.summary}",
                expected=f"one of {', '.join(self.implementations)}",
            )
        return self.implementations[name]

    def situation(self, case: Case, device: Device) -> Situation:
        """The situation of a case on a device."""
        shapes = [array.shape for array in self.proof.inputs(case).values()]
        dimensions = self.dimensions(*shapes, **self.proof.settings(case))
        return Situation(device, case.dtype, tuple(sorted(dimensions.items())))

    def _situation(self, device: Device, arrays: Sequence[Any], settings: Settings) -> Situation:
        shapes = [getattr(array, "shape", ()) for array in arrays]
        dtype = next((dtype_name(array.dtype) for array in arrays if hasattr(array, "dtype")), "float32")
        return Situation(device, dtype, tuple(sorted(self.dimensions(*shapes, **settings).items())))

    def refusal(self, name: str, situation: Situation) -> tuple[str, str] | None:
        """What an implementation expects instead of a situation, and what it got; None if it supports the situation.

        Raises:
            TinyError: there is no such implementation.
        """
        implementation = self.implementation(name)
        if implementation.device and implementation.device != situation.kind:
            return f"that MLX computes on {_DEVICES[implementation.device]}", _DEVICES[situation.kind]
        if (expected := implementation.expects(situation)) is None:
            return None
        return expected, ", ".join([situation.dtype, *(f"{letter} = {n}" for letter, n in situation.dimensions)])

    def require(self, name: str, situation: Situation) -> None:
        """Check that an implementation supports a situation.

        Raises:
            TinyError: it does not, or there is no such implementation.
        """
        if (refusal := self.refusal(name, situation)) is not None:
            raise TinyError(
                f"The implementation {name!r} of {self.summary} cannot be used here",
                expected=refusal[0],
                got=refusal[1],
                remedy="Use 'auto', which takes one that can",
            )

    def title(self, case: Case) -> str:
        """A case as text: dimensions, and special inputs."""
        return ", ".join(filter(None, [self.proof.label(case), case.special]))


_DEVICES = {"metal": "the GPU of a Mac with Apple silicon", "cpu": "the CPU", "cuda": "an NVIDIA GPU"}


def many_rows_on_cpu(situation: Situation) -> bool:
    """When the CPU's implementations of operations on rows are faster: for more than the row of a single token."""
    return situation.kind == "cpu" and situation["rows"] > 1 and situation.dtype == "float32"


def native_rows_on_cpu(situation: Situation) -> bool:
    """When the operations in C++ are taken: where `cpu` would be, and there are any."""
    return many_rows_on_cpu(situation) and in_cpp(situation) is None


def rows_of(shape: tuple[int, ...]) -> int:
    """Number of rows of an array, over all axes but the last."""
    return math.prod(shape[:-1])


def in_float32(situation: Situation) -> str | None:
    """`Implementation.expects` for implementations that support only float32."""
    return None if situation.dtype == "float32" else "float32"


def in_cpp(situation: Situation) -> str | None:
    """`Implementation.expects` for the operations in C++."""
    if situation.device.native:
        return in_float32(situation)
    return f"the operations in C++ ({native.why_not() or 'there are none on that device'})"


def here() -> Device:
    """Where MLX computes on this machine."""
    if metal.why_not_metal() is None:
        return Device("metal", generation_here())
    if not lanes.on_cpu():
        return Device("cuda")
    return Device("cpu", lanes=len(lanes.lanes()), native=native.why_not() is None)


@functools.cache
def generation_here() -> int | None:
    """Generation of an Apple chip, such as 3 for "Apple M3 Max"; None for any other."""
    match = re.match(r"Apple M(\d+)", chip())
    return int(match[1]) if match else None


def dtype_name(dtype: mx.Dtype) -> str:
    """The type's name, such as "float32"."""
    return str(dtype).removeprefix("mlx.core.")


def least_bytes(operation: Operation, case: Case, both: bool) -> float:
    """Bytes that must be moved: each input read once and each output written once; with gradients, those too."""
    inputs, outputs = operation.proof.inputs(case).values(), operation.proof.outputs(case).values()
    total = sum(_size(array, case.dtype) for array in (*inputs, *outputs))
    if both:
        total += sum(_size(array, case.dtype) for array in inputs if array.differentiable)
        total += sum(_size(array, case.dtype) for array in outputs)
    return float(total)


def _size(array: ArraySpec, dtype: str) -> int:
    return math.prod(array.shape) * (2 if array.dtype(dtype) in ("float16", "bfloat16") else 4)


def filled(inputs: Mapping[str, ArraySpec], dtype: str, seed: int) -> dict[str, NDArray[Any]]:
    """Random numbers for inputs: normal, in float32 but rounded to their dtype, or integers."""
    generator = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for name, array in inputs.items():
        if array.values is not None:
            arrays[name] = np.asarray(array.values())
        elif array.kind == "int32":
            arrays[name] = generator.integers(0, array.limit, array.shape, dtype=np.int32)
        else:
            numbers = np.float32(array.std) * generator.standard_normal(array.shape, dtype=np.float32)
            arrays[name] = np.array(mx.array(numbers).astype(getattr(mx, array.dtype(dtype))).astype(mx.float32))
    return arrays


def converted(inputs: Mapping[str, ArraySpec], arrays: Mapping[str, NDArray[Any]], dtype: str) -> Named:
    """The numbers as arrays of MLX, each in the dtype of its input."""
    return {name: mx.array(arrays[name]).astype(getattr(mx, array.dtype(dtype))) for name, array in inputs.items()}


def with_model(case: Case, **changes: Any) -> Case:
    """The case with other dimensions."""
    return dataclasses.replace(case, model=dataclasses.replace(case.model, **changes))
