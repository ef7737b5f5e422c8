"""Errors of the device."""

from __future__ import annotations

import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.training.device_errors import device_errors_explained


@pytest.mark.parametrize(
    ("error", "failed", "remedy"),
    [
        (RuntimeError("[METAL] Insufficient Memory (0008)"), "GPU ran out of memory", "--micro-batches 2"),
        (RuntimeError("[malloc_or_wait] Unable to allocate 9 bytes."), "Out of memory", "--micro-batches 2"),
        (MemoryError(), "Out of memory", "--micro-batches 2"),
        (RuntimeError("[METAL] Impacting Interactivity (000e)"), "held up the display", "--micro-batches"),
    ],
)
def test_errors_of_the_device_name_a_remedy(error: Exception, failed: str, remedy: str) -> None:
    with pytest.raises(TinyError, match=failed) as raised, device_errors_explained(12, 1):
        raise error
    assert remedy in str(raised.value.remedy)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    ("batch_size", "micro_batches", "remedy"),
    [(12, 1, "--micro-batches 2"), (12, 4, "--micro-batches 6"), (7, 1, "--micro-batches 7"), (8, 8, "--context")],
)
def test_the_remedy_can_be_followed(batch_size: int, micro_batches: int, remedy: str) -> None:
    with pytest.raises(TinyError) as raised, device_errors_explained(batch_size, micro_batches):
        raise MemoryError
    assert remedy in raised.value.remedy


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("alloc"), TinyError("alloc")])
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, device_errors_explained(8, 1):
        raise error
    assert raised.value is error
