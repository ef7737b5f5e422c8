"""Adds the micro preset to the presets."""

from __future__ import annotations

import pytest

from mlx_tiny.config.presets import PRESETS

from .micro import MICRO


@pytest.fixture(autouse=True)
def micro(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "micro", MICRO)
