"""A model that is validated within a moment."""

from __future__ import annotations

from dataclasses import replace

from mlx_tiny.validate import models, trajectory
from mlx_tiny.validate.models import ModelCase

CONFIG = trajectory.CONFIG


def small_case() -> ModelCase:
    """Two layers with grouped queries and SwiGLU, on random tokens."""
    subject = models.fresh_case("small", CONFIG)
    return replace(subject, batch=subject.batch[:, :20])
