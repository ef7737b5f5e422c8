"""Trains small language models. The five functions below are described in `mlx_tiny/api`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlx_tiny.api import evaluate, generate, load, score, train

__version__ = "0.2.0"
__all__ = ["evaluate", "generate", "load", "score", "train"]

if sys.platform == "darwin":
    # macOS stops long GPU work while a display is on (ml-explore/mlx issue 3267); with this it waits longer. The driver
    # reads it when Metal starts, so it is set before MLX is imported. Children inherit it.
    os.environ.setdefault("AGX_RELAX_CDM_CTXSTORE_TIMEOUT", "1")


def __getattr__(name: str) -> Any:
    # MLX is loaded with the first of these names that is used, so that `mlx-tiny --help` need not wait for it.
    if name in __all__:
        import importlib

        return getattr(importlib.import_module("mlx_tiny.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
