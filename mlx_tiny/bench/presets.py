"""Finds presets by name."""

from __future__ import annotations

from mlx_tiny.errors import TinyError
from mlx_tiny.study.plan import PRESETS, Preset


def preset_called(name: str) -> Preset:
    """The preset of this name.

    Raises:
        TinyError: there is none.
    """
    if name not in PRESETS:
        raise TinyError(f"Unknown preset {name!r}", expected=f"one of {', '.join(PRESETS)}")
    return PRESETS[name]
