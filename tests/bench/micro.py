"""A preset small enough for tests, whose dimensions all differ, and plausible peaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlx_tiny.bench.record import Result, Settings
from mlx_tiny.config.presets import Preset, Recipe, Size
from mlx_tiny.linux.attention import BLOCK
from mlx_tiny.machine.description import Machine
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.machine.state import State
from mlx_tiny.tools.statistics import Spread

MICRO = Preset(
    "micro",
    Recipe("micro", "for tests"),
    Size(
        "micro",
        {
            "data": {"vocabulary_size": 520},
            "model": {
                "layers": 2,
                "width": 48,
                "heads": 4,
                "key_value_heads": 2,
                "head_width": 32,
                "hidden": 120,
                "context": 40,
                "activation": "swiglu",
            },
            "train": {"batch_size": 4},
        },
    ),
)


def changed(name: str, batch_size: int = 4, **model: Any) -> Preset:
    """The preset with another batch and other dimensions."""
    own = MICRO.size.settings
    settings = {**own, "model": {**own["model"], **model}, "train": {"batch_size": batch_size}}
    return replace(MICRO, name=name, size=Size(name, settings))


LONG = changed("long", batch_size=3, context=2 * BLOCK + 3)
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


SETTINGS = Settings(
    benchmarks=["kernels"],
    presets=["micro"],
    operations=None,
    dtypes=["float32"],
    changes={},
    cores=[],
    prompt_tokens=None,
    max_tokens=None,
    seconds=1.0,
)


def spread(median: float, width: float = 0.15, overloaded: bool = False) -> Spread:
    """Numbers with this relative spread."""
    return Spread(median, median * (1 - width / 3), median * (1 + 2 * width / 3), 5, overloaded)


def timed(**changes: Any) -> Result:
    """A result of `bench kernels` with these times."""
    result = Result(
        benchmark="kernels",
        preset="micro",
        shape="B4 T40",
        dtype="float32",
        implementation="plain",
        operation="attention",
        direction="forward",
        flops=1e6,
        least_bytes=1e5,
        bound_s=1e-4,
        bound_by="compute",
        error=0.5,
        time_s=spread(2e-3),
        share_of_bound=0.05,
        peak_memory_bytes=1000,
        state=MACHINE.state,
    )
    return replace(result, **changes)


def absent(outcome: str, reason: str, **changes: Any) -> Result:
    """A result of `bench kernels` without a time."""
    return timed(time_s=None, share_of_bound=None, outcome=outcome, reason=reason, **changes)
