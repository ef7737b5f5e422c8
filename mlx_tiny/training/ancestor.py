"""What a run can start from: another run, or a model that is read from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mlx_tiny.config import RunConfig
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.model.parameters import Parameters
from mlx_tiny.records import Origin, TextOfRun


class Ancestor(Protocol):
    """A model with its tokenizer, and what is known of its past; `RunFolder` is one."""

    path: Path
    config: RunConfig
    corpus: TextOfRun
    """The text that it was trained on last; its key is empty where that is not known."""
    origin: Origin | None
    """What it started from itself."""

    def newest_step(self) -> int | None:
        """At which it has its weights; None where that is not known."""

    def load_weights(self, tell: Callable[[str], None]) -> Parameters:
        """Its weights, float32 and finite; TinyError where they are missing or damaged."""

    def load_tokenizer(self) -> Tokenizer:
        """Its tokenizer; TinyError where it is missing or damaged."""
