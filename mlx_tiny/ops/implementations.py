"""Which implementation computes each operation: decided once, before anything is traced, and then handed down."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.ops.conformance import failure
from mlx_tiny.ops.muon.layout import Layout
from mlx_tiny.ops.operation import Case, Device, Operation, Situation, here
from mlx_tiny.ops.registry import OPERATIONS

AUTO, PLAIN = "auto", "plain"
AS_ASKED = "as asked"
"""The reason where nothing was left to choose."""
# Dimensions that make no other kernel for Metal's compiler: a verdict holds for all of them.
_NOT_COMPILED_FOR = ("T", "S", "room", "rows", "parameters", "entries")

# What the checks of kernels in this process found.
_verdicts: dict[tuple[str, Situation], str | None] = {}


@dataclass(frozen=True)
class Choice:
    """An implementation of an operation, and why it was taken; call it with the operation's arguments.

    They are not checked again, as an `Operation` does: the forward pass and the optimizer make them, and `decide` has
    seen that they are taken.
    """

    operation: Operation
    implementation: str
    reason: str

    def __call__(self, *arrays: Any, **settings: Any) -> Any:
        return self.operation.implementations[self.implementation].function(*arrays, **settings)


@dataclass(frozen=True)
class Implementations:
    """What computes each operation of a step; a field for each of `OPERATIONS`."""

    norm: Choice
    qk_norm_rope: Choice
    attention: Choice
    activation: Choice
    cross_entropy: Choice
    muon: Choice

    def __iter__(self) -> Iterator[Choice]:
        return iter(getattr(self, field.name) for field in dataclasses.fields(self))

    def lines(self) -> list[str]:
        """A line per operation, for the header of a run."""
        return [f"{choice.operation.name}: {choice.implementation} ({choice.reason})" for choice in self]

    def to_dict(self) -> dict[str, str]:
        """The name of each operation's implementation, for records."""
        return {choice.operation.name: choice.implementation for choice in self}


def decide(
    model: ModelConfig,
    *,
    batch: int = 1,
    past: int = 0,
    dtype: str = "float32",
    asked: str = AUTO,
    muon: Layout | None = None,
    device: Device | None = None,
) -> Implementations:
    """Choose an implementation of every operation.

    Args:
        model: its dimensions; the context is the number of positions that are computed at once.
        batch: sequences that are computed at once.
        past: positions that a cache has room for beside them.
        dtype: of activations.
        asked: as `parse` takes it.
        muon: which matrices Muon trains; None where it trains none.
        device: where the operations are to be computed; by default here, after kernels were checked here.

    Raises:
        TinyError: an unknown operation or implementation, or one that does not take this model or cannot run here.
    """
    wanted, place = parse(asked), device or here()
    case = Case(model, batch, dtype, past=past)
    choices = {}
    for name, operation in OPERATIONS.items():
        if name == "muon":
            if muon is None:
                choices[name] = _without_muon(operation, asked)
                continue
            # Moments and banks are float32, whatever the activations are.
            case = Case(model, dtype="float32", options={"layout": muon})
        situation = operation.situation(case, place)
        implementation = wanted[name]
        if implementation == AUTO:
            choices[name] = automatic(operation, situation, trusted=device is not None)
        else:
            operation.require(implementation, situation)
            choices[name] = Choice(operation, implementation, AS_ASKED)
    return Implementations(**choices)


def _without_muon(operation: Operation, asked: str) -> Choice:
    if "=" in asked and parse(asked)["muon"] not in (AUTO, PLAIN):
        raise TinyError(
            "An implementation of Muon is asked for, and no matrix is trained by Muon",
            got=asked,
            remedy="Leave it out, or train the matrices with --matrix-optimizer muon",
        )
    return Choice(operation, PLAIN, "no matrix is trained by Muon")


def beyond_training(asked: str) -> str:
    """What is asked of the operations where a run's model is only used: `plain` stays plain, all else is `auto`.

    Another machine may not have what the run was trained with, and a cache takes other implementations anyway.
    """
    return PLAIN if asked == PLAIN else AUTO


def parse(asked: str) -> dict[str, str]:
    """What is asked of each operation.

    Args:
        asked: one name for all operations that have such an implementation, `auto` for the others; or pairs such as
            "attention=mlx,muon=plain", `auto` for those that are not named.

    Raises:
        TinyError: an unknown operation or implementation.
    """
    wanted = dict.fromkeys(OPERATIONS, AUTO)
    if "=" not in asked:
        having = [name for name, operation in OPERATIONS.items() if asked in (AUTO, *operation.implementations)]
        if not having:
            known = dict.fromkeys(name for operation in OPERATIONS.values() for name in operation.implementations)
            raise TinyError(f"Unknown implementation {asked!r}", expected=f"one of {', '.join([AUTO, *known])}")
        return {**wanted, **dict.fromkeys(having, asked)}
    named: set[str] = set()
    for pair in asked.split(","):
        name, _, implementation = (part.strip() for part in pair.partition("="))
        if name in named:
            raise TinyError(f"The operation {name!r} is named twice in {asked!r}", expected="each operation once")
        named.add(name)
        if name not in OPERATIONS:
            raise TinyError(
                f"Unknown operation {name!r} in {asked!r}",
                expected=f"pairs such as attention=mlx, of {', '.join(OPERATIONS)}",
            )
        if implementation != AUTO:
            OPERATIONS[name].implementation(implementation)
        wanted[name] = implementation
    return wanted


def automatic(operation: Operation, situation: Situation, *, trusted: bool = False) -> Choice:
    """What `auto` stands for in a situation: the first rule that holds, and of kernels only those that are right here.

    Args:
        trusted: the kernels are taken as right, as for another machine than this one.
    """
    rule = next(rule for rule in operation.rules if rule.holds(situation))
    if rule.implementation != "metal" or trusted:
        return Choice(operation, rule.implementation, rule.reason)
    if (fault := _verdict(operation, situation)) is None:
        return Choice(operation, "metal", rule.reason)
    instead = next(name for name in ("mlx", PLAIN) if name in operation.implementations)
    return Choice(operation, instead, f"the Metal kernels failed their check here: {fault}")


def _verdict(operation: Operation, situation: Situation) -> str | None:
    compiled_for = [pair for pair in situation.dimensions if pair[0] not in _NOT_COMPILED_FOR]
    key = operation.name, dataclasses.replace(situation, dimensions=tuple(compiled_for))
    if key not in _verdicts:
        _verdicts[key] = next(_faults(operation, situation), None)
        if _verdicts[key] is not None:
            warnings.warn(
                f"The Metal kernels of {operation.summary} are not used: {_verdicts[key]}. Run `mlx-tiny validate "
                "--kernels` and report what it prints.",
                stacklevel=2,
            )
    return _verdicts[key]


def _faults(operation: Operation, situation: Situation) -> Iterator[str]:
    """How the kernels fail on this machine, in what they are to be used for."""
    for part in (*operation.parts, operation):
        for case in part.proof.before_use(situation):
            try:
                fault = failure(part, "metal", case)
            except (
                RuntimeError,
                ValueError,
            ) as error:  # of Metal's compiler, the launch or the device
                fault = first_line(error)
            if fault is not None:
                yield fault


def forget_verdicts() -> Mapping[tuple[str, Situation], str | None]:
    """Let kernels be checked again; gives what was found before."""
    found = dict(_verdicts)
    _verdicts.clear()
    return found
