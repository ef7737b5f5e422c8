"""Layer 6: plants faults in the code, and checks that the validation finds each in the right place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlx_tiny.validate import models, operations, optimizers, strength, trajectory
from mlx_tiny.validate.faults import FAULTS, Fault
from mlx_tiny.validate.models import ModelCase
from mlx_tiny.validate.strength import Trained
from mlx_tiny.validate.table import Comparison, Row

_NOTHING = "nothing"
# As few as the first of the two rows of the training needs.
_STEPS = trajectory.FIRST_STEPS + 1


@dataclass(frozen=True)
class Verdict:
    """What the validation found of a fault."""

    fault: str
    expected: str
    blamed: str
    """The operation and result that failed first."""
    found: bool
    """Whether anything failed."""
    localised: bool
    """Whether that is the place of the fault."""


def comparisons() -> Iterator[Comparison]:
    """The validation that the self-test runs: all parts, in float32, on small models."""
    small = models.fresh_case("small", trajectory.CONFIG)
    yield from operations.comparisons(("float32",))
    for model in (small, models.tied_case()):
        yield from models.of_case(model, ("float32",))
    yield from optimizers.comparisons()
    yield from trajectory.Training(_STEPS).comparisons()
    yield from strength.comparisons("fresh weights", lambda: _fresh(small))


def first_failure(comparisons: Iterator[Comparison]) -> Row | None:
    """The first row that fails; those after it are not computed."""
    return next((row for row in (comparison.row() for comparison in comparisons) if not row.passed), None)


def verdicts(faults: Sequence[Fault] = FAULTS) -> Iterator[Verdict]:
    """First the verdict on the code without a fault, then on each fault."""
    sound = first_failure(comparisons())
    yield Verdict("none", _NOTHING, _blamed(sound), sound is None, sound is None)
    yield from map(verdict_on, faults)


def verdict_on(fault: Fault) -> Verdict:
    """What the validation finds while the fault is planted."""
    with fault.planted():
        row = first_failure(comparisons())
    localised = row is not None and row.operation == fault.operation and fault.result in ("", row.result)
    return Verdict(fault.name, fault.place, _blamed(row), row is not None, localised)


def _blamed(row: Row | None) -> str:
    return _NOTHING if row is None else row.place


def _fresh(case: ModelCase) -> Trained:
    tokens = trajectory.story_bytes(2 * case.config.model.context + 10, seed=1)
    return Trained(case.config.model, case.weights, tokens, text_bytes=len(tokens) - 1)
