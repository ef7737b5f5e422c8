"""What a session of training gives: state, account and strength."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlx_tiny.records import Progress
from mlx_tiny.training.backend import State
from mlx_tiny.training.counts import Fitted
from mlx_tiny.training.evaluate import Evaluation


@dataclass(frozen=True)
class Outcome:
    """The result of a run or session."""

    state: State
    progress: Progress
    evaluation: Evaluation
    """Of the final weights."""
    parts: tuple[Evaluation, ...]
    """The same for each text of the data."""
    evaluated_whole: bool
    """Whether on the whole validation file; after an interruption, on its beginning."""
    interrupted: str | None
    """The name of the signal that ended the session early."""
    phases: dict[str, float]
    """Seconds by phase."""
    weights_from: str
    """`last`, or `best` where an earlier checkpoint was better on the same validation tokens."""
    weights_step: int
    """The step after which the weights were these."""
    fitted: Fitted | None = None
    """Counting with its gate; None where the run does not count."""

    def with_phases(self, seconds: dict[str, float]) -> Outcome:
        """The same with more seconds of some phases."""
        more = {name: self.phases.get(name, 0.0) + value for name, value in seconds.items()}
        return replace(self, phases={**self.phases, **more})
