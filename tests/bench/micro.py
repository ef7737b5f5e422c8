"""A preset small enough for a test, with everything that shapes can tell apart, and plausible peaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlx_tiny.linux.attention import BLOCK
from mlx_tiny.machine.description import Machine
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.machine.state import State
from mlx_tiny.records import to_plain
from mlx_tiny.study.plan import Preset

MICRO = Preset(
    "micro",
    vocabulary_size=520,
    model={
        "layers": 2,
        "width": 48,
        "heads": 4,
        "key_value_heads": 2,
        "head_width": 32,
        "hidden": 80,
        "context": 40,
        "activation": "swiglu",
    },
    batch_size=4,
)
LONG = replace(MICRO, name="long", batch_size=3, model={**MICRO.model, "context": 2 * BLOCK + 3})
"""With windows of several blocks of the CPU's attention, the last one padded."""
PEAKS = Peaks(
    matmul_flops_per_s={"float32": 1e11, "bfloat16": 1e11},
    copy_bytes_per_s=1e10,
    launch_s=1e-6,
    evaluation_s=1e-5,
    products="float32",
)
MACHINE = Machine(
    system="Linux 6",
    architecture="x86_64",
    chip="a chip",
    cores=2,
    performance_cores=None,
    efficiency_cores=None,
    memory_bytes=8_000_000_000,
    device="cpu",
    blas="a BLAS",
    python="3.11",
    versions={"mlx": "1", "mlx_tiny": "2"},
    commit=None,
    state=State(power=None, thermal=None, load_average=0.1),
)


def timed_record(**changes: Any) -> dict[str, Any]:
    """A record of `bench kernels` as it would be measured."""
    return {
        "benchmark": "kernels",
        "operation": "attention",
        "direction": "forward",
        "preset": "micro",
        "shape": "B4 T40",
        "dtype": "float32",
        "implementation": "plain",
        "model_flops": 1e6,
        "least_bytes": 1e5,
        "arithmetic_intensity": 10.0,
        "bound_s": 1e-4,
        "bound_by": "compute",
        "machine": to_plain(MACHINE),
        "median_s": 2e-3,
        "p10_s": 1.9e-3,
        "p90_s": 2.2e-3,
        "rounds": 5,
        "spread": 0.15,
        "overloaded": False,
        "model_flops_per_s": 5e8,
        "executed_flops": None,
        "executed_flops_per_s": None,
        "bytes_per_s": 5e7,
        "share_of_bound": 0.05,
        "peak_memory_bytes": 1000,
        "speed_up": {},
        "error": 0.5,
        **changes,
    }
