"""Errors of the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.training.device_errors import DeviceError, device_error, device_errors_explained

METAL = "[METAL] Command buffer execution failed: "
RUN = Path("runs/a run")


@pytest.mark.parametrize(
    ("error", "failed", "passes"),
    [
        (
            RuntimeError(f"{METAL}Insufficient Memory (00000008:kIOGPU...)."),
            "GPU ran out of memory",
            False,
        ),
        (RuntimeError("[malloc] Unable to allocate 9 bytes."), "Out of memory", False),
        (RuntimeError("[metal::malloc] Attempting to allocate 9 bytes which is greater than"), "Out of memory", False),
        (MemoryError(), "Out of memory", False),
        (RuntimeError("[metal::malloc] Resource limit (499000) exceeded."), "buffers", True),
        (
            RuntimeError(f"{METAL}Impacting Interactivity (0000000e:kIOGPU...)."),
            "display",
            True,
        ),
        (
            RuntimeError(f"{METAL}Caused GPU Timeout Error (00000002:kIOGPU...)."),
            "too long",
            True,
        ),
        (RuntimeError(f"{METAL}Internal Error (0000000e:Internal Error)."), "could not finish", True),
        (
            RuntimeError(f"{METAL}Discarded (victim of GPU error/recovery) (00000005:kIOGPU...)."),
            "could not finish",
            True,
        ),
    ],
)
def test_an_error_says_what_failed_and_whether_it_can_pass(error: Exception, failed: str, passes: bool) -> None:
    with pytest.raises(DeviceError, match=failed) as raised, device_errors_explained(RUN, 12, 1):
        raise error
    assert raised.value.__cause__ is error
    assert raised.value.passes is passes
    assert "mlx-tiny train --resume 'runs/a run'" in str(raised.value)
    assert ("--micro-batches 2" in str(raised.value)) is not passes


@pytest.mark.parametrize(
    ("batch_size", "micro_batches", "remedy"),
    [(12, 1, "--micro-batches 2"), (12, 4, "--micro-batches 6"), (7, 1, "--micro-batches 7"), (8, 8, "--context")],
)
def test_the_remedy_can_be_followed(batch_size: int, micro_batches: int, remedy: str) -> None:
    with pytest.raises(TinyError) as raised, device_errors_explained(RUN, batch_size, micro_batches):
        raise MemoryError
    assert remedy in str(raised.value.remedy)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("alloc"), TinyError("alloc")])
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, device_errors_explained(RUN, 8, 1):
        raise error
    assert raised.value is error
    assert device_error(error) is None
