"""Records as plain text: one block per measurement, one line per implementation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mlx_tiny.bench.results import title_of
from mlx_tiny.bench.runners import TORCH
from mlx_tiny.bench.worker import on_cores
from mlx_tiny.machine.description import Machine
from mlx_tiny.machine.peaks import Peaks
from mlx_tiny.units import format_bytes, format_count

Record = dict[str, Any]
_ABSENT = "-"
_FACTORS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
OVERLOADED = "!"
"""Behind a time that spreads too much, and a ratio to or from it."""
DOUBTFUL = "?"
"""Behind a share above 100 %: what it is a share of was no bound."""


def lines(records: Sequence[Record]) -> Iterator[str]:
    """All records, those of one measurement below a heading with what it is."""
    for _, group in itertools.groupby(records, key=lambda r: (r["benchmark"], title_of(r), r["dtype"])):
        block = list(group)
        yield from ("", heading(block[0]))
        columns = {
            name: cell
            for name, cell in _COLUMNS[block[0]["benchmark"]].items()
            if any("reason" not in r and cell(r) != _ABSENT for r in block)
        }
        rows = [[r["implementation"], *_cells(r, columns)] for r in block]
        yield from aligned([["", *columns], *rows])


def heading(record: Record) -> str:
    """What is measured, and what the machine's peaks say of it."""
    parts = [f"{title_of(record)} ({record['shape']}), {record['dtype']}"]
    if "bound_s" in record:
        parts.append(
            f"{format_count(record['model_flops'])}FLOP, {format_bytes(record['least_bytes'])}, "
            f"{record['arithmetic_intensity']:.1f} FLOP/byte; at least {duration(record['bound_s'])} "
            f"({record['bound_by']})"
        )
    return ": ".join(parts)


def machine_line(machine: Machine) -> str:
    """On what, in which state, and with which versions was measured."""
    state = machine.state
    states = {"power": state.power, "thermal state": state.thermal, "load": state.load_average}
    parts = [f"{machine.chip}, {machine.cores} cores, {machine.device}", machine.system, f"BLAS {machine.blas}"]
    parts += [f"{name} {value}" for name, value in {**states, "commit": machine.commit}.items() if value is not None]
    versions = machine.versions
    parts += [f"{name} {versions[name]}" for name in ("mlx_tiny", "mlx", "torch") if name in versions]
    return f"machine: {'; '.join(parts)}"


def peaks_line(peaks: Peaks) -> str:
    """The machine's peaks."""
    rates = ", ".join(f"{format_count(rate)}FLOP/s {dtype}" for dtype, rate in peaks.matmul_flops_per_s.items())
    caches = peaks.cached_bytes_per_s.items()
    cached = [f"{format_bytes(rate)}/s within {format_bytes(int(size))}" for size, rate in caches]
    copies = ", ".join([f"memory {format_bytes(peaks.copy_bytes_per_s)}/s", *cached])
    return f"peaks: {rates}; {copies}; launch {duration(peaks.launch_s)}, evaluation {duration(peaks.evaluation_s)}"


def duration(seconds: float) -> str:
    """Three digits: 1.23 ms, 45.6 us, 7.89 s."""
    for unit, factor in _FACTORS.items():
        if abs(seconds) >= factor or unit == "us":
            return f"{seconds / factor:.3g} {unit}"
    raise AssertionError


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns of equal width, the first to the left and the others to the right; a last reason is left as it is."""
    count = max(len(row) for row in rows)
    widths = [max((len(row[column]) for row in rows if len(row) == count), default=0) for column in range(count)]
    widths[0] = max(len(row[0]) for row in rows)
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        if len(row) == count:
            cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        else:
            cells += row[1:]
        yield "  " + "  ".join(cells).rstrip()


def _cells(record: Record, columns: dict[str, Callable[[Record], str]]) -> list[str]:
    return [record["reason"]] if "reason" in record else [cell(record) for cell in columns.values()]


def _time(record: Record) -> str:
    text = duration(record["median_s"])
    factor = _FACTORS[text.split()[1]]
    # In the unit of the median, in which the highest may have more than three digits.
    ends = [record[name] / factor for name in ("p10_s", "p90_s")]
    low, high = (f"{end:.3g}" if end < 999.5 else f"{end:,.0f}" for end in ends)
    return f"{text} ({low} to {high}){OVERLOADED if record['overloaded'] else ''}"


def _rate(field: str) -> Callable[[Record], str]:
    return lambda r: _ABSENT if r.get(field) is None else f"{r[field] / 1e9:.3g}"


def _memory(record: Record) -> str:
    return _ABSENT if record.get("peak_memory_bytes") is None else format_bytes(record["peak_memory_bytes"])


def _share(field: str) -> Callable[[Record], str]:
    return lambda r: _ABSENT if r.get(field) is None else f"{r[field]:.0%}{DOUBTFUL if r[field] > 1 else ''}"


def _against(base: str) -> Callable[[Record], str]:
    def cell(record: Record) -> str:
        ratio = record.get("speed_up", {}).get(base)
        if ratio is None:
            return _ABSENT
        sign = OVERLOADED if ratio["overloaded"] else ""
        return f"{ratio['median']:.2f} ({ratio['p10']:.2f} to {ratio['p90']:.2f}){sign}"

    return cell


_COLUMNS: dict[str, dict[str, Callable[[Record], str]]] = {
    "kernels": {
        "median (p10 to p90)": _time,
        "GFLOP/s": _rate("model_flops_per_s"),
        "executed": _rate("executed_flops_per_s"),
        "GB/s": _rate("bytes_per_s"),
        "of bound": _share("share_of_bound"),
        "memory": _memory,
        "x plain": _against("plain"),
        "x mlx": _against("mlx"),
        f"x {TORCH}": _against(TORCH),
    },
    "step": {
        "median (p10 to p90)": _time,
        "tokens/s": lambda r: f"{r['tokens_per_s']:,.0f}",
        "of peak": _share("utilisation"),
        "launches": lambda r: str(r.get("launches", _ABSENT)),
        "memory": _memory,
        "x torch": _against("torch"),
        "x tuned": _against("torch tuned"),
        "x compiled": _against("torch compiled"),
        "x reference": _against("reference"),
        "x one core": _against(on_cores(1)),
    },
    "inference": {
        "median (p10 to p90)": _time,
        "tokens": lambda r: str(r["tokens"]),
        "tokens/s": lambda r: f"{r['tokens_per_s']:,.0f}",
        "of peak": _share("utilisation"),
        "memory": _memory,
    },
}
