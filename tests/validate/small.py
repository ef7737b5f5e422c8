"""A model that is validated within a moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlx_tiny.validate import models, trajectory
from mlx_tiny.validate.models import ModelCase

CONFIG = trajectory.CONFIG


def train_on_little(patch: pytest.MonkeyPatch) -> None:
    """Trainings of layer 4 get two sequences per step instead of eight, in half the time."""
    patch.setattr(trajectory, "CONFIG", replace(CONFIG, train=replace(CONFIG.train, batch_size=2)))


def small_case() -> ModelCase:
    """Two layers with grouped queries and SwiGLU, on random tokens."""
    subject = models.fresh_case("small", CONFIG)
    return replace(subject, batch=subject.batch[:, :20])
