"""What can end a run early: a diverging loss."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError

# The decay of a running mean over about 20 steps, and how far this mean may rise above its lowest value. In our studies
# spikes from which a run recovered stayed below one nat, and no run recovered from two.
_MEMORY = 0.95
_LARGEST_CLIMB_NATS = 2.0


class Diverged(TinyError):
    """The loss is NaN, infinite, or far above its lowest value."""


@dataclass
class LossWatch:
    """Raises `Diverged` when the loss is not finite, or its running mean rises far above its lowest value."""

    mean: float | None = None
    lowest: float | None = None

    def has_seen(self, losses: Iterable[float]) -> bool:
        """Whether these are the losses that it has seen."""
        other = LossWatch()
        with contextlib.suppress(Diverged):
            for loss in losses:
                other.see(0, loss)
        return other == self

    def see(self, step: int, loss: float) -> None:
        """Record the loss of one step, in nats per token."""
        if not math.isfinite(loss):
            raise Diverged(f"The loss became {loss} at step {step}")
        self.mean = loss if self.mean is None else _MEMORY * self.mean + (1 - _MEMORY) * loss
        self.lowest = self.mean if self.lowest is None else min(self.lowest, self.mean)
        if self.mean > self.lowest + _LARGEST_CLIMB_NATS:
            raise Diverged(
                f"The loss is diverging: at step {step} its running mean is {self.mean:.2f} nats, "
                f"{self.mean - self.lowest:.2f} above its lowest point"
            )


def explained_divergence(error: Diverged, config: RunConfig, saved: bool) -> TinyError:
    """The error for a user.

    Args:
        saved: whether there is a checkpoint from before.
    """
    c = config.optimizer
    good = "The last good checkpoint is kept" if saved else "No checkpoint had been written yet"
    return TinyError(
        f"{error.failed}. {good}",
        remedy=f"Start again with lower rates (--matrix-rate is {c.matrix_rate:g}, --embedding-rate "
        f"{c.embedding_rate:g}, --head-rate {c.head_rate:g}), a longer --warmup, or --clip-norm 1",
    )
