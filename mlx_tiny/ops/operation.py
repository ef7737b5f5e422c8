"""What is known of an operation: who computes it, what it takes, what it must give, and what it costs.

An operation is described once, in its own folder below this one, by the classes of this file. Training, the self-test
before a kernel is used, `validate`, `bench`, `profile` and the tests all read that description.
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
from mlx_tiny.linux import lanes
from mlx_tiny.machine.hardware import chip
from mlx_tiny.ops import metal

Function = Callable[..., Any]
"""From arrays, by position, and settings, by name, to an array or a sequence of arrays."""
Named = dict[str, mx.array]
Exact = dict[str, NDArray[np.float64]]
Settings = Mapping[str, Any]

DTYPES = ("float32", "float16", "bfloat16")


@dataclass(frozen=True)
class Device:
    """Where an operation is to be computed; `implementations.device_here` tells of this machine."""

    kind: str
    """`metal`, `cpu` or `cuda`."""
    generation: int | None = None
    """5 for an M5; None where it is no Apple chip or its name tells nothing."""
    lanes: int = 1
    """Parts that work is cut into, as `linux/lanes.py` explains."""


@dataclass(frozen=True)
class Situation:
    """All that the choice of an implementation depends on."""

    device: Device
    dtype: str
    dimensions: tuple[tuple[str, int], ...] = ()
    """By the letters of `model/forward.py`: T queries, S keys, K head width, `rows` of an operation on rows, ..."""

    def __getitem__(self, letter: str) -> int:
        return dict(self.dimensions)[letter]

    @property
    def kind(self) -> str:
        return self.device.kind


@dataclass(frozen=True)
class Implementation:
    """One way to compute an operation; all of an operation take the same arguments."""

    function: Function
    expects: Callable[[Situation], str | None] = lambda _: None
    """What it expects instead of a situation that it does not take; None where it takes it."""
    device: str = ""
    """Where alone it runs: `metal`, `cpu`; anywhere where it is empty."""


@dataclass(frozen=True)
class Rule:
    """When `auto` takes an implementation, and why; of an operation's rules the first that holds decides."""

    implementation: str
    reason: str
    holds: Callable[[Situation], bool] = lambda _: True


@dataclass(frozen=True)
class ArraySpec:
    """An array that an operation takes or gives, before it exists."""

    shape: tuple[int, ...]
    kind: str = ""
    """Empty: floating, of the case's dtype. Else `float32`, whatever the case's dtype, or `int32`."""
    std: float = 1.0
    """Standard deviation of its random numbers."""
    limit: int = 0
    """Of integers: they are random from 0 to below it."""
    values: Callable[[], Any] | None = None
    """Gives its numbers where they are not random."""
    differentiable: bool = True
    entry: str = ""
    """Of an output that is as exact as float32 whatever the case's dtype: its entry in the table of tolerances."""
    by_sequence: bool = True
    """Whether the first axis is that of the sequences, which lanes share out."""

    def dtype(self, dtype: str) -> str:
        """Its type in a case of this type."""
        return self.kind or dtype


@dataclass(frozen=True)
class Case:
    """An operation at one shape, with one kind of inputs."""

    model: ModelConfig
    """Its dimensions; the context is the number of queries T."""
    batch: int = 2
    """Sequences B."""
    dtype: str = "float32"
    special: str = ""
    """One of the operation's special inputs; random numbers where it is empty."""
    past: int = 0
    """Keys before the first query, as a cache has them."""
    options: Settings = field(default_factory=dict)
    """What else the operation's own description reads; `entry`: that of the table of tolerances, if not the usual."""

    @property
    def rows(self) -> int:
        """Positions of all sequences, N = B T."""
        return self.batch * self.model.context


@dataclass(frozen=True)
class Special:
    """Inputs that random numbers do not give."""

    change: Callable[[Named], Named]
    """From random inputs and cotangents, by name, to these."""
    entry: str = ""
    """Of the table of tolerances, where it is not the operation's."""
    only: tuple[str, ...] = ()
    """The implementations that are asked; all where it is empty."""


@dataclass(frozen=True)
class Rival:
    """Somebody else's way to compute an operation, for comparison only."""

    function: Function | None
    """Takes the inputs by name and the case, and gives the outputs by name."""
    why_not: str = ""
    """Why there is none."""


@dataclass(frozen=True)
class Proof:
    """How an operation is checked and timed.

    Results go by the names of the outputs, and "gradient of X" for an input X.
    """

    label: Callable[[Case], str]
    """The case's dimensions in words, such as "B2 T65 H4 G2 K32"."""
    inputs: Callable[[Case], dict[str, ArraySpec]]
    """By name, in the order of the arguments."""
    outputs: Callable[[Case], dict[str, ArraySpec]]
    settings: Callable[[Case], dict[str, Any]]
    formula: Callable[[Exact, Exact, Settings], Exact]
    """Results in float64 from inputs, cotangents and settings: numpy, and no code of any implementation."""
    cases: Callable[[], Iterable[Case]]
    """Shapes and inputs that every implementation that takes them is checked with."""
    entries: tuple[str, str]
    """The table of tolerances' entries for outputs and for gradients."""
    flops: Callable[[Case, bool], float]
    """Model FLOPs: what the result needs; with gradients where the second argument says so."""
    specials: Mapping[str, Special] = field(default_factory=dict)
    executed_flops: Mapping[str, Callable[[Case, bool], float]] = field(default_factory=dict)
    """What implementations and rivals do for it, where that is known."""
    kernels: Mapping[str, str] = field(default_factory=dict)
    """Which Metal kernel makes which result."""
    rivals: Mapping[str, Rival] = field(default_factory=dict)
    run: Callable[[Function, Named, Settings], Named] | None = None
    """Calls an implementation, where its arguments and results are not just the inputs and outputs in their order."""
    before_use: Callable[[Situation], Iterable[Case]] = lambda _: ()
    """Cases with which the Metal kernels are checked before they are used in a situation."""
    differentiable: bool = True

    @property
    def special_names(self) -> tuple[str, ...]:
        """All kinds of special inputs."""
        return tuple(self.specials)


@dataclass(frozen=True)
class Operation:
    """An operation of the training step, or a part of one."""

    name: str
    """The one by which flags, tables, reports and folders know it."""
    summary: str
    """As a sentence names it."""
    implementations: Mapping[str, Implementation]
    proof: Proof
    dimensions: Callable[..., dict[str, int]] = lambda *shapes, **settings: {}
    """What a choice depends on beside type and device, from the shapes of the inputs and the settings."""
    rules: tuple[Rule, ...] = ()
    """What `auto` stands for; empty for a part that is not chosen by itself."""
    check: Callable[..., object] = lambda *arrays, **settings: None
    """Raises a TinyError for arguments that no implementation takes."""
    parts: tuple[Operation, ...] = ()
    """Operations that it is made of, each with a description of its own."""

    def __call__(self, implementation: str, *arrays: Any, **settings: Any) -> Any:
        """Compute by the named implementation, whose arguments are checked first.

        Raises:
            TinyError: there is no such implementation, it does not take these arguments, or cannot run here.
        """
        self.check(*arrays, **settings)
        self.require(implementation, self._situation(here(), arrays, settings))
        return self.implementations[implementation].function(*arrays, **settings)

    def by(self, implementation: str) -> Function:
        """The function of arrays and settings that asks for this implementation."""
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
        """That of a case."""
        shapes = [array.shape for array in self.proof.inputs(case).values()]
        dimensions = self.dimensions(*shapes, **self.proof.settings(case))
        return Situation(device, case.dtype, tuple(sorted(dimensions.items())))

    def _situation(self, device: Device, arrays: Sequence[Any], settings: Settings) -> Situation:
        shapes = [getattr(array, "shape", ()) for array in arrays]
        dtype = next((dtype_name(array.dtype) for array in arrays if hasattr(array, "dtype")), "float32")
        return Situation(device, dtype, tuple(sorted(self.dimensions(*shapes, **settings).items())))

    def refusal(self, name: str, situation: Situation) -> tuple[str, str] | None:
        """What an implementation expects instead of a situation, and what it got; None where it takes it.

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
        """Refuse an implementation that does not take a situation.

        Raises:
            TinyError: it does not, or there is no such implementation.
        """
        if (refusal := self.refusal(name, situation)) is not None:
            raise TinyError(
                f"The implementation {name!r} of {self.summary} cannot be used here",
                expected=refusal[0],
                got=refusal[1],
                remedy="Ask for 'auto', which takes one that can",
            )

    def title(self, case: Case) -> str:
        """A case in words: dimensions, and what is special about its inputs."""
        return ", ".join(filter(None, [self.proof.label(case), case.special]))


_DEVICES = {"metal": "the GPU of a Mac with Apple silicon", "cpu": "the CPU", "cuda": "an NVIDIA GPU"}


def many_rows_on_cpu(situation: Situation) -> bool:
    """When the CPU's implementations of operations on rows pay: not for the row of a single token."""
    return situation.kind == "cpu" and situation["rows"] > 1 and situation.dtype == "float32"


def rows_of(shape: tuple[int, ...]) -> int:
    """Rows of an array: all axes but the last."""
    return math.prod(shape[:-1])


def in_float32(situation: Situation) -> str | None:
    """What implementations that take float32 alone expect."""
    return None if situation.dtype == "float32" else "float32"


def here() -> Device:
    """Where MLX computes on this machine."""
    if metal.why_not_metal() is None:
        return Device("metal", generation_here())
    return Device("cpu", lanes=len(lanes.lanes())) if lanes.on_cpu() else Device("cuda")


@functools.cache
def generation_here() -> int | None:
    """Generation of an Apple chip, such as 3 for "Apple M3 Max"; None for any other."""
    match = re.match(r"Apple M(\d+)", chip())
    return int(match[1]) if match else None


def dtype_name(dtype: mx.Dtype) -> str:
    """The type's name, such as "float32"."""
    return str(dtype).removeprefix("mlx.core.")


def least_bytes(operation: Operation, case: Case, both: bool) -> float:
    """Bytes that must be moved: each input read once and each output written once; with gradients, theirs too."""
    inputs, outputs = operation.proof.inputs(case).values(), operation.proof.outputs(case).values()
    total = sum(_size(array, case.dtype) for array in (*inputs, *outputs))
    if both:
        total += sum(_size(array, case.dtype) for array in inputs if array.differentiable)
        total += sum(_size(array, case.dtype) for array in outputs)
    return float(total)


def _size(array: ArraySpec, dtype: str) -> int:
    return math.prod(array.shape) * (2 if array.dtype(dtype) in ("float16", "bfloat16") else 4)


def filled(inputs: Mapping[str, ArraySpec], dtype: str, seed: int) -> dict[str, NDArray[Any]]:
    """Numbers for inputs: normal, float32 but rounded to their type, or integers."""
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
    """The numbers as MLX's arrays, of each input's own type."""
    return {name: mx.array(arrays[name]).astype(getattr(mx, array.dtype(dtype))) for name, array in inputs.items()}


def with_model(case: Case, **changes: Any) -> Case:
    """The case with other dimensions."""
    return dataclasses.replace(case, model=dataclasses.replace(case.model, **changes))
