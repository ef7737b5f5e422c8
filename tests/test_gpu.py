"""Tests marked `metal` run only where the GPU has 8x8 matrices."""

from __future__ import annotations

import mlx.core as mx
import pytest
from gpu import why_not_metal


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("applegpu_g13g", None),
        ("applegpu_g17s", None),
        ("applegpu_g11p", "applegpu_g11p"),
        ("Apple Paravirtual device", "Paravirtual"),
    ],
)
def test_the_generation_of_the_gpu_decides(
    architecture: str, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mx.metal, "is_available", lambda: True)
    monkeypatch.setattr(mx, "device_info", lambda: {"architecture": architecture})
    found = why_not_metal()
    assert (found is None) is (reason is None)
    assert reason is None or reason in str(found)
