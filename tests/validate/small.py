"""A model that is validated in a moment."""

from __future__ import annotations

from dataclasses import replace

from mlx_tiny.validate import models, trajectory
from mlx_tiny.validate.models import Subject

CONFIG = trajectory.CONFIG


def small_subject() -> Subject:
    """Two layers with grouped queries and SwiGLU, on random tokens."""
    subject = models.fresh_subject("small", CONFIG)
    return replace(subject, batch=subject.batch[:, :20])
