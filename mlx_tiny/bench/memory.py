"""The most memory that a process of its own has held: the system's on a CPU, the device's on a GPU."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def of_process() -> int:
    """Most memory that was resident since this program was loaded, in bytes.

    On Linux `getrusage` hands a parent's peak down to what it starts; the kernel's VmHWM begins with each program.
    """
    import resource

    if sys.platform == "linux":
        found = re.search(r"^VmHWM:\s*(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def of_mlx() -> int:
    """What a process that computes with MLX has held: the GPU's buffers where it has one."""
    import mlx.core as mx

    from mlx_tiny.linux.lanes import on_cpu

    return of_process() if on_cpu() else mx.get_peak_memory()


def of_torch() -> int:
    """The same of PyTorch, on the device that the reference takes; Metal's driver tells what it holds, not its peak."""
    import torch

    from mlx_tiny.reference.backend import choose_device

    device = choose_device()
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(torch.mps.driver_allocated_memory()) if device.type == "mps" else of_process()
