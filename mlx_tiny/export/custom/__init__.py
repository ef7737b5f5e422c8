"""Models that no program knows, with files of Python that travel beside the weights."""

from __future__ import annotations

from mlx_tiny.errors import TinyError
from mlx_tiny.export.model import Contents, Export


def contents(export: Export, target: str) -> Contents:
    """Weights, `config.json` and code of a model with any options.

    Args:
        target: `hf` or `mlx`.
    """
    raise TinyError("Models with code of their own cannot be exported yet")
