"""Prints results: a block per measurement, with a line per implementation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

from mlx_tiny.bench.record import Result
from mlx_tiny.bench.runners import TORCH
from mlx_tiny.bench.worker import on_cores
from mlx_tiny.machine.description import Machine
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.tools.tables import (
    ABSENT,
    OVERLOADED,
    PLUS_MINUS,
    Column,
    Table,
    ratio_cell,
    spread_cell,
    time_cell,
    wrapped,
)
from mlx_tiny.units import format_bytes, format_duration, format_flops

DOUBTFUL = "?"
MARKS = (
    (OVERLOADED, "the machine was too loaded to measure"),
    (DOUBTFUL, "above 100 %: what it is a share of was no bound"),
)


class Blocks:
    """The tables of a run of `bench`."""

    def __init__(self) -> None:
        self._tables: dict[str, Table[Result]] = {}

    def lines(self, results: Sequence[Result]) -> Iterator[str]:
        """Lines of some results; those of one measurement have a common heading."""
        for _, group in itertools.groupby(results, key=lambda r: (r.benchmark, r.title, r.dtype)):
            block = list(group)
            yield ""
            yield from wrapped(heading(block[0]))
            yield from self._table(block[0].benchmark).lines(block)

    def legend(self) -> Iterator[str]:
        """Lines that explain the columns of all blocks so far."""
        for table in self._tables.values():
            yield ""
            yield from table.legend()

    def _table(self, benchmark: str) -> Table[Result]:
        if benchmark not in self._tables:
            columns = _COLUMNS[benchmark]
            self._tables[benchmark] = Table(lambda r: r.implementation, columns, note=lambda r: r.reason, marks=MARKS)
        return self._tables[benchmark]


def heading(result: Result) -> str:
    """What is measured, and the shortest time that the peaks allow."""
    parts = [f"{result.title} ({result.shape}), {result.dtype}"]
    if result.bound_s is not None:
        work = [format_flops(result.flops)]
        if result.least_bytes is not None:
            work += [format_bytes(result.least_bytes), f"{result.flops / result.least_bytes:.1f} FLOP/byte"]
        parts.append(f"{', '.join(work)}; at least {format_duration(result.bound_s)} ({result.bound_by})")
    return ": ".join(parts)


def machine_line(machine: Machine) -> str:
    """Machine, its state, and versions."""
    state = machine.state
    states = {"power": state.power, "thermal state": state.thermal, "load": state.load_average}
    parts = [f"{machine.chip}, {machine.cores} cores, {machine.device}", machine.system, f"BLAS {machine.blas}"]
    parts += [f"{name} {value}" for name, value in {**states, "commit": machine.commit}.items() if value is not None]
    versions = machine.versions
    parts += [f"{name} {versions[name]}" for name in ("mlx_tiny", "mlx", "torch") if name in versions]
    return f"machine: {'; '.join(parts)}"


def peaks_line(peaks: Peaks) -> str:
    """The peaks of the machine."""
    rates = ", ".join(f"{format_flops(rate, '/s')} {dtype}" for dtype, rate in peaks.matmul_flops_per_s.items())
    caches = peaks.cached_bytes_per_s.items()
    cached = [f"{format_bytes(rate)}/s within {format_bytes(int(size))}" for size, rate in caches]
    copies = ", ".join([f"memory {format_bytes(peaks.copy_bytes_per_s)}/s", *cached])
    times = f"launch {format_duration(peaks.launch_s)}, evaluation {format_duration(peaks.evaluation_s)}"
    return f"peaks: {rates}; {copies}; {times}"


def _rate(amount: Callable[[Result], float | None]) -> Callable[[Result], str]:
    def cell(result: Result) -> str:
        work = amount(result)
        return ABSENT if work is None or result.time_s is None else f"{work / result.time_s.median / 1e9:.3g}"

    return cell


def _share(result: Result) -> str:
    share = result.share_of_bound
    return ABSENT if share is None else f"{share:.0%}{DOUBTFUL * (share > 1)}"


def _count(value: float | None) -> str:
    return ABSENT if value is None else f"{value:,.0f}"


def _memory(result: Result) -> str:
    return ABSENT if result.peak_memory_bytes is None else format_bytes(result.peak_memory_bytes)


def _faster_than(title: str, base: str) -> Column[Result]:
    return Column(title, lambda r: ratio_cell(r.speed_up.get(base)), f"times faster than {base}")


_TIME: tuple[Column[Result], ...] = (
    Column("time", lambda r: time_cell(r.time_s), "median"),
    Column("±", lambda r: spread_cell(r.time_s), PLUS_MINUS),
)
_COLUMNS: dict[str, tuple[Column[Result], ...]] = {
    "kernels": (
        *_TIME,
        _faster_than("x plain", "plain"),
        _faster_than("x mlx", "mlx"),
        _faster_than("x torch", TORCH),
        Column("of bound", _share, "the least time by the peaks, over the median"),
        Column("GFLOP/s", _rate(lambda r: r.flops), "model FLOPs"),
        Column("memory", _memory),
        Column("GB/s", _rate(lambda r: r.least_bytes), "bytes that must be moved"),
        Column("executed", _rate(lambda r: r.executed_flops), "GFLOP/s with all that is computed"),
    ),
    "step": (
        *_TIME,
        Column("tokens/s", lambda r: _count(r.tokens_per_s)),
        Column("of peak", _share, "model FLOPs utilisation"),
        _faster_than("x torch", "torch"),
        _faster_than("x tuned", "torch tuned"),
        _faster_than("x compiled", "torch compiled"),
        _faster_than("x reference", "reference"),
        _faster_than("x one core", on_cores(1)),
        Column("memory", _memory),
        Column("launches", lambda r: _count(r.launches), "of kernels, on a GPU"),
    ),
    "inference": (
        *_TIME,
        Column("tokens", lambda r: _count(r.tokens)),
        Column("tokens/s", lambda r: _count(r.tokens_per_s)),
        Column("of peak", _share, "model FLOPs utilisation"),
        Column("memory", _memory),
    ),
}
