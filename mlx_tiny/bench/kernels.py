"""`bench kernels`: each operation by each implementation, first held against its reference, then timed in turn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_tiny.bench import operations
from mlx_tiny.bench.operation import TORCH, MlxRunner, Operation
from mlx_tiny.bench.presets import preset_called
from mlx_tiny.bench.references import Arrays
from mlx_tiny.bench.timing import interleaved, seconds_of, speed_ups
from mlx_tiny.bench.torch_operations import TorchRunner, why_no_torch
from mlx_tiny.errors import said
from mlx_tiny.linux.lanes import on_cpu, why_not_compiled
from mlx_tiny.machine.description import describe
from mlx_tiny.machine.peaks import Peaks, bound
from mlx_tiny.records import to_plain
from mlx_tiny.tolerances import TABLE, Bounds, bounds
from mlx_tiny.tools.statistics import Spread

Record = dict[str, Any]
Runner = MlxRunner | TorchRunner

BASES = ("plain", "mlx", TORCH)
"""Implementations that the others are compared with."""
OWN = ("plain", "cpu", "metal")
"""Implementations whose wrong result is a fault of this project."""

CALLS_AROUND = 3
"""Computations of an operation that are not timed: to check it, to see its memory, and to warm it up."""
# So many computations an evaluation on a GPU, whose start and end would otherwise be most of a short one.
_CALLS_ON_GPU, _SHORT_S = 8, 0.01
# An operation longer than this is left out: five rounds of all implementations would take minutes.
_LONGEST_S = 4.0
# Multiply-adds with operands of ten bits are as exact as float16's; Newton-Schulz has no bounds in that type.
_TF32_AS = {"Newton-Schulz": "bfloat16", "AdamW": "float32"}


@dataclass(frozen=True)
class Verdict:
    """A result held against its reference: what is wrong with it, or how near the bound the worst part is."""

    fault: str | None
    excess: float
    """Largest error as a multiple of what is allowed."""


def run(
    preset_names: Iterable[str],
    dtypes: Iterable[str],
    peaks: Peaks,
    *,
    names: Iterable[str] | None = None,
    seconds: float = 1.0,
    compiled: bool | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[list[Record]]:
    """Check and time; the records of one operation and direction at a time, an implementation each.

    Args:
        preset_names: whose shapes to take.
        dtypes: of activations; the optimizers' operations are measured once, in float32.
        peaks: measured in the same run, in float32 too.
        names: operations, all by default.
        seconds: time to spend on each implementation of an operation, about.
        compiled: whether MLX compiles; by default where it can.
        tell: told in a line what is being measured.

    Raises:
        TinyError: an unknown preset or operation.
    """
    compiled = why_not_compiled() is None if compiled is None else compiled
    names = None if names is None else list(names)
    measured = set[tuple[str, ...]]()
    for dtype, preset_name in itertools.product(list(dtypes), list(preset_names)):
        for operation in operations.of_preset(preset_called(preset_name), dtype, names):
            name = operation.name, operation.direction, operation.preset, operation.dtype
            if name not in measured:
                measured.add(name)
                tell(f"{', '.join(name)} ({operation.shape})")
                yield measure(operation, peaks, seconds=seconds, compiled=compiled)


def measure(operation: Operation, peaks: Peaks, *, seconds: float, compiled: bool) -> list[Record]:
    """The records of one operation, an implementation each, those that cannot run here with the reason."""
    least = bound(
        peaks,
        operation.dtype,
        flops=operation.flops,
        moved_bytes=operation.least_bytes,
        launches=operations.least_launches(operation),
    )
    common = {
        "benchmark": "kernels",
        "operation": operation.name,
        "direction": operation.direction,
        "preset": operation.preset,
        "shape": operation.shape,
        "dtype": operation.dtype,
        "model_flops": operation.flops,
        "least_bytes": operation.least_bytes,
        "arithmetic_intensity": operations.intensity(operation),
        "bound_s": least.seconds,
        "bound_by": least.by,
        "compiled": compiled,
        "float32_products": peaks.products,
        "machine": to_plain(describe()),
    }
    if least.seconds > _LONGEST_S:
        why = f"left out: no implementation could take less than {least.seconds:.0f} s here"
        return [{**common, "implementation": name, "reason": why} for name in (*operation.implementations, TORCH)]
    calls = 1 if on_cpu() or least.seconds > _SHORT_S else _CALLS_ON_GPU
    runners, records = _prepared(operation, common, compiled, calls)
    memory = {name: runner.peak_memory_bytes() for name, runner in runners.items()}
    for runner in runners.values():
        runner()
    durations = interleaved(runners, seconds=seconds * len(runners)) if runners else {}
    durations = {name: [duration / calls for duration in taken] for name, taken in durations.items()}
    for name in runners:
        records[name] |= _speeds(operation, name, Spread.of(durations[name]), least.seconds)
        records[name]["peak_memory_bytes"] = memory[name]
        records[name]["speed_up"] = speed_ups(durations, name, BASES)
    return list(records.values())


def _prepared(
    operation: Operation, common: Record, compiled: bool, calls: int
) -> tuple[dict[str, Runner], dict[str, Record]]:
    """A runner for each implementation whose result is right, and a record for every one."""
    expected = operation.expected()
    runners: dict[str, Runner] = {}
    records: dict[str, Record] = {}
    for name, function in {**operation.implementations, TORCH: why_no_torch()}.items():
        record = records[name] = {**common, "implementation": name}
        if isinstance(function, str):
            record["reason"] = function
            continue
        try:
            runner: Runner = (
                TorchRunner(operation, preset_called(operation.preset), calls)
                if function is None
                else MlxRunner(operation, function, compiled=compiled, calls=calls)
            )
            verdict = judge(operation, name, runner.results(), expected, common["float32_products"])
        except (RuntimeError, ValueError, MemoryError) as error:  # the device, MLX or Metal's compiler refused
            record |= {"reason": f"failed: {said(error)}", "failed": True}
            continue
        record["error"] = verdict.excess
        if verdict.fault is not None:
            record |= {"reason": f"wrong: {verdict.fault}", "wrong": True}
        else:
            runners[name] = runner
    return runners, records


def judge(operation: Operation, implementation: str, results: Arrays, expected: Arrays, products: str) -> Verdict:
    """Hold the checked windows of all results against the reference; everything else must be finite.

    Args:
        results: as a runner gives them.
        expected: as the operation gives it.
        products: precision of float32 products, as `Peaks` names it.
    """
    worst = 0.0
    for name, right in expected.items():
        if name not in results:
            return Verdict(f"there is no {name}", math.inf)
        got = results[name]
        if not np.isfinite(got).all():
            return Verdict(f"{name} is not finite", math.inf)
        part = got[operation.checked_windows] if operation.is_batched(name) else got
        excess = _allowed(operation, implementation, name, products).excess(part, right)
        worst = max(worst, excess)
        if not excess <= 1:
            return Verdict(f"{name} is {excess:.1f} times as far from its reference as is allowed", excess)
    return Verdict(None, worst)


def _allowed(operation: Operation, implementation: str, result: str, products: str) -> Bounds:
    entry = operation.tolerances[result.startswith("gradient of ")]
    dtype = operation.dtype
    if dtype == "float32" and products == "tf32":
        dtype = _TF32_AS.get(entry.partition(" of ")[0], "float16")
    if implementation == "metal" and (f"{entry} kernel", dtype) in TABLE:
        entry = f"{entry} kernel"
    return bounds(entry, dtype)


def _speeds(operation: Operation, implementation: str, taken: Spread, bound_s: float) -> Record:
    executed = operation.executed_flops.get(implementation)
    return {
        **seconds_of(taken),
        "model_flops_per_s": operation.flops / taken.median,
        "executed_flops": executed,
        "executed_flops_per_s": None if executed is None else executed / taken.median,
        "bytes_per_s": operation.least_bytes / taken.median,
        "share_of_bound": bound_s / taken.median,
    }
