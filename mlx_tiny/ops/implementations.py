"""Decides which implementation computes each operation: once, before a run starts; from then on it is an argument."""

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
"""The reason if the user named the implementation."""
# Metal kernels are not compiled anew for these dimensions, so a verdict holds for all their values.
_NOT_COMPILED_FOR = ("T", "S", "room", "rows", "parameters", "entries")

# Results of the checks of kernels in this process: None, or what is wrong.
_verdicts: dict[tuple[str, Situation], str | None] = {}


@dataclass(frozen=True)
class Choice:
    """An implementation of an operation, and the reason for it; call it with the operation's arguments.

    Unlike `Operation`, it does not check the arguments: they come from the forward pass or the optimizer, and `decide`
    has checked that the implementation supports them.
    """

    operation: Operation
    implementation: str
    reason: str

    def is_usual(self, device: Device) -> bool:
        """Whether `auto` chose it, and the operation has none made for the device, or this one is."""
        having = [name for name, made in self.operation.implementations.items() if made.device == device.kind]
        return self.reason != AS_ASKED and (not having or self.implementation in having)

    def __call__(self, *arrays: Any, **settings: Any) -> Any:
        return self.operation.implementations[self.implementation].function(*arrays, **settings)


@dataclass(frozen=True)
class Implementations:
    """The implementation of each operation of a step; the fields are those of `OPERATIONS`."""

    norm: Choice
    qk_norm_rope: Choice
    attention: Choice
    activation: Choice
    cross_entropy: Choice
    muon: Choice

    def __iter__(self) -> Iterator[Choice]:
        return iter(getattr(self, field.name) for field in dataclasses.fields(self))

    def line(self, device: Device) -> str:
        """Each implementation with its operations, and the reason where it is not the usual one of `device`."""
        groups: dict[tuple[str, str], list[str]] = {}
        for choice in self:
            reason = "" if choice.is_usual(device) else f" ({choice.reason})"
            groups.setdefault((choice.implementation, reason), []).append(choice.operation.name)
        return "; ".join(f"{made} for {', '.join(names)}{reason}" for (made, reason), names in groups.items())

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
        model: its dimensions; `context` is the number of positions that are computed at once.
        batch: number of sequences that are computed at once.
        past: number of further positions in the cache.
        dtype: of activations.
        asked: see `parse`.
        muon: layout of the matrices that Muon trains; None if there are none.
        device: where the operations will run, whose kernels are trusted; by default here, and kernels are checked.

    Raises:
        TinyError: an unknown operation or implementation, or one that does not support this model or cannot run here.
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
            "An implementation of Muon is named, and no matrix is trained by Muon",
            got=asked,
            remedy="Leave it out, or train the matrices with --matrix-optimizer muon",
        )
    return Choice(operation, PLAIN, "no matrix is trained by Muon")


def beyond_training(asked: str) -> str:
    """The implementations for using a trained model: `plain` if the run used that everywhere, else `auto`.

    Another machine may lack the implementations of the training, and a cache needs other ones anyway.
    """
    return PLAIN if asked == PLAIN else AUTO


def parse(asked: str) -> dict[str, str]:
    """The implementation of each operation, from the value of `--implementation`.

    Args:
        asked: a name for all operations that have an implementation of this name, with `auto` for the others; or pairs
            such as "attention=mlx,muon=plain", with `auto` for operations that are not named.

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
    """The choice of `auto`: that of the first rule that holds, but no kernel that is wrong on this machine.

    Args:
        trusted: do not check kernels, as for another machine.
    """
    rule = next(rule for rule in operation.rules if rule.holds(situation))
    if rule.implementation != "metal" or trusted:
        return Choice(operation, rule.implementation, rule.reason)
    if (fault := _verdict(operation, situation)) is None:
        return Choice(operation, "metal", rule.reason)
    instead = next(name for name in ("mlx", PLAIN) if name in operation.implementations)
    return Choice(operation, instead, f"the Metal kernels are wrong on this machine: {fault}")


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
    """Errors of the kernels on this machine, in the cases of a situation."""
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
    """Forget the results of all checks, so that kernels are checked again; returns the old results."""
    found = dict(_verdicts)
    _verdicts.clear()
    return found
