"""`bench kernels`: every implementation of every operation, checked against its formula and then timed in turn."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from mlx_tiny.bench.record import FAILED, LEFT_OUT, WRONG, Result
from mlx_tiny.bench.runners import TORCH, Runner, runners
from mlx_tiny.bench.timed import Timed, of_preset
from mlx_tiny.bench.timing import interleaved, speed_ups
from mlx_tiny.config.presets import preset_called
from mlx_tiny.errors import first_line
from mlx_tiny.linux.lanes import on_cpu, why_not_compiled
from mlx_tiny.machine.peaks import Peaks, bound
from mlx_tiny.ops.conformance import entry
from mlx_tiny.ops.operation import Exact
from mlx_tiny.tolerances import TABLE, Bounds, bounds
from mlx_tiny.tools.statistics import Spread

BASES = ("plain", "mlx", TORCH)
"""Implementations that the others are compared with."""
OWN = ("plain", "cpu", "native", "metal")
"""Implementations of this project, whose wrong results are errors of this project."""

CALLS_AROUND = 3
"""Computations of an operation that are not timed: for the check, for its memory, and as warm-up."""
# Computations per evaluation on a GPU, for short operations, whose time would otherwise be mostly start and end.
_CALLS_ON_GPU, _SHORT_S = 8, 0.01
# Longer operations are left out, because five rounds of all implementations would take minutes.
_LONGEST_S = 4.0
# Products of factors with ten bits are as exact as in float16; Newton-Schulz has no bounds for float16.
_TF32_AS = {"newton_schulz": "bfloat16", "adamw": "float32"}


@dataclass(frozen=True)
class Verdict:
    """What is wrong with results, or the largest error relative to its bound."""

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
) -> Iterator[list[Result]]:
    """Check and time; yields the results of all implementations for each operation and direction.

    Args:
        preset_names: presets whose shapes are used.
        dtypes: of activations; operations of the optimizer are measured once, in float32.
        peaks: measured in the same run, in float32 too.
        names: operations, all by default.
        seconds: about how long to measure each implementation of an operation.
        compiled: whether to compile with MLX; by default if possible.
        tell: called with a line about what is being measured.

    Raises:
        TinyError: an unknown preset or operation.
    """
    compiled = why_not_compiled() is None if compiled is None else compiled
    names = None if names is None else list(names)
    measured = set[tuple[str, ...]]()
    for dtype, preset_name in itertools.product(list(dtypes), list(preset_names)):
        for timed in of_preset(preset_called(preset_name), dtype, names):
            if timed.name not in measured:
                measured.add(timed.name)
                tell(f"{', '.join(timed.name)} ({timed.operation.title(timed.case)})")
                yield measure(timed, peaks, seconds=seconds, compiled=compiled)


def measure(timed: Timed, peaks: Peaks, *, seconds: float, compiled: bool) -> list[Result]:
    """The results of an operation, one per implementation; if it cannot run here, with a reason."""
    operation, case = timed.operation, timed.case
    least = bound(peaks, case.dtype, flops=timed.flops, moved_bytes=timed.least_bytes, launches=timed.least_launches)
    name, direction, preset, dtype = timed.name
    results = {
        implementation: Result(
            "kernels",
            preset,
            operation.title(case),
            dtype,
            implementation,
            operation=name,
            direction=direction,
            compiled=compiled,
            flops=timed.flops,
            executed_flops=_executed_flops(timed, implementation),
            least_bytes=timed.least_bytes,
            bound_s=least.seconds,
            bound_by=least.by,
        )
        for implementation in (*operation.implementations, *operation.proof.rivals)
    }
    if least.seconds > _LONGEST_S:
        why = f"left out: no implementation could take less than {least.seconds:.0f} s here"
        return [result.without_time(LEFT_OUT, why) for result in results.values()]
    calls = 1 if on_cpu() or least.seconds > _SHORT_S else _CALLS_ON_GPU
    ready = _prepared(timed, results, peaks.products, compiled, calls)
    memory = {name: runner.peak_memory_bytes() for name, runner in ready.items()}
    for runner in ready.values():
        runner()
    durations = interleaved(ready, seconds=seconds * len(ready)) if ready else {}
    durations = {name: [duration / calls for duration in taken] for name, taken in durations.items()}
    for name in ready:
        speed_up = speed_ups(durations, name, BASES)
        results[name] = results[name].timed(Spread.of(durations[name]), speed_up, memory[name])
    return list(results.values())


def _prepared(timed: Timed, results: dict[str, Result], products: str, compiled: bool, calls: int) -> dict[str, Runner]:
    """A runner for each implementation whose result is right; the others get a reason in `results`."""
    expected = timed.expected()
    ready: dict[str, Runner] = {}
    for name, make in runners(timed, compiled=compiled, calls=calls):
        if isinstance(make, str):
            results[name] = results[name].without_time(LEFT_OUT, make)
            continue
        try:
            runner = make()
            verdict = checked(timed, name, runner.results(), expected, products)
        except (RuntimeError, ValueError, MemoryError) as error:  # of the device, MLX or Metal's compiler
            results[name] = results[name].without_time(FAILED, f"failed: {first_line(error)}")
            continue
        results[name] = replace(results[name], error=verdict.excess)
        if verdict.fault is not None:
            results[name] = results[name].without_time(WRONG, f"wrong: {verdict.fault}")
        else:
            ready[name] = runner
    return ready


def checked(timed: Timed, implementation: str, results: Exact, expected: Exact, products: str) -> Verdict:
    """Compare the checked sequences of all results with the formula; everything else must be finite.

    Args:
        results: from a runner.
        expected: from `timed`.
        products: precision of float32 products, as in `Peaks`.
    """
    worst = 0.0
    for name, right in expected.items():
        if name not in results:
            return Verdict(f"there is no {name}", math.inf)
        if not np.isfinite(results[name]).all():
            return Verdict(f"{name} is not finite", math.inf)
        got = timed.of_sequences(name, results[name], timed.checked_sequences)
        excess = _allowed(timed, implementation, name, products).excess(got, right)
        worst = max(worst, excess)
        if not excess <= 1:
            return Verdict(f"{name} is {excess:.1f} times as far from its formula as is allowed", excess)
    return Verdict(None, worst)


def _allowed(timed: Timed, implementation: str, result: str, products: str) -> Bounds:
    place, dtype = entry(timed.operation, implementation, timed.case, result), timed.case.dtype
    if dtype == "float32" and products == "tf32":
        dtype = _TF32_AS.get(timed.operation.name, "float16")
    # In 16 bits a kernel has the bounds of all implementations.
    return bounds(place if (place, dtype) in TABLE else place.removesuffix(" kernel"), dtype)


def _executed_flops(timed: Timed, implementation: str) -> float | None:
    count = timed.operation.proof.executed_flops.get(implementation)
    return None if count is None else count(timed.case, timed.backward)
