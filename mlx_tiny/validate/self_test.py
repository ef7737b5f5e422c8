"""Layer 6: does the validation find faults that were planted, and blame the right part for each?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlx_tiny.validate import models, operations, optimizers, strength, trajectory
from mlx_tiny.validate.faults import FAULTS, Fault
from mlx_tiny.validate.models import ModelCase
from mlx_tiny.validate.strength import Trained
from mlx_tiny.validate.table import Comparison, Row

_NOTHING = "nothing"
# No more than it takes for the first of the training's two rows.
_STEPS = trajectory.FIRST_STEPS + 1


@dataclass(frozen=True)
class Verdict:
    """Whom the validation blamed for a fault."""

    fault: str
    expected: str
    blamed: str
    """Operation and result that failed first."""
    found: bool
    """Whether anything failed."""
    localised: bool
    """Whether it was what had to fail first."""


def comparisons() -> Iterator[Comparison]:
    """The validation as the self-test runs it: all parts, in float32, on small models."""
    subject = models.fresh_case("small", trajectory.CONFIG)
    yield from operations.comparisons(("float32",))
    for model in (subject, models.tied_case()):
        yield from models.of_case(model, ("float32",))
    yield from optimizers.comparisons()
    yield from trajectory.Training(_STEPS).comparisons()
    yield from strength.comparisons("fresh weights", lambda: _fresh(subject))


def first_failure(questions: Iterator[Comparison]) -> Row | None:
    """The first row that fails; those after it are not computed."""
    return next((row for row in (question.row() for question in questions) if not row.passed), None)


def verdicts(faults: Sequence[Fault] = FAULTS) -> Iterator[Verdict]:
    """First whether the sound code passes, and then, one at a time, what is said of each fault."""
    sound = first_failure(comparisons())
    yield Verdict("none", _NOTHING, _blamed(sound), sound is None, sound is None)
    yield from map(judge, faults)


def judge(fault: Fault) -> Verdict:
    """Whom the validation blames while the fault is planted."""
    with fault.planted():
        row = first_failure(comparisons())
    localised = row is not None and row.operation == fault.operation and fault.result in ("", row.result)
    return Verdict(fault.name, fault.place, _blamed(row), row is not None, localised)


def _blamed(row: Row | None) -> str:
    return _NOTHING if row is None else row.place


def _fresh(subject: ModelCase) -> Trained:
    tokens = trajectory.story_bytes(2 * subject.config.model.context + 10, seed=1)
    return Trained(subject.config.model, subject.weights, tokens, bytes_per_token=1.0)
