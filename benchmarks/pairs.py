"""Statistics of paired runs: mean and spread of each side, and the mean difference with its error.

A pair is a run of each side, mlx_tiny and the baseline, with the same seed.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mlx_tiny.machine.description import Machine
from mlx_tiny.records import Record
from mlx_tiny.tools.statistics import Mean
from mlx_tiny.tools.tables import Column, Table
from mlx_tiny.units import format_bytes, format_count

OURS, BASELINE = "mlx_tiny", "gpt2"
SIDES = (OURS, BASELINE)
DISTURBED_CORES = 0.1
"""A run is marked as disturbed if other processes used more cores than this."""
MEASURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "bits_per_byte": ("bits per byte", "{:.4f}".format),
    "tokens": ("tokens", format_count),
    "tokens_per_s": ("tokens/s", format_count),
    "peak_memory_bytes": ("peak memory", format_bytes),
    "seconds": ("seconds", "{:.1f}".format),
}
"""Field of a run -> title of its column, and format."""


@dataclass(frozen=True)
class Run:
    """A finished run of one side."""

    seed: int
    side: str
    started: str
    cores_used_by_others: float | None
    """Mean over the run; None where the system does not tell."""
    bits_per_byte: float
    perplexity_per_token: float
    steps: int
    tokens: int
    tokens_per_s: float
    seconds: float
    parameters: int
    peak_memory_bytes: int
    settings: dict[str, Any]
    """All settings; files are given by name, without folders."""
    machine: Machine
    samples: list[str]

    @property
    def disturbed(self) -> bool:
        """Whether other processes are known to have used the cores during the run."""
        return (self.cores_used_by_others or 0.0) > DISTURBED_CORES


Pair = tuple[Run, Run]


@dataclass(frozen=True)
class Asked:
    """The settings of a study that decide its results."""

    data: str
    validation: str | None
    budget: str
    ours: str
    """Further options of `mlx-tiny train`."""
    baseline: str
    """Further options of the baseline."""


@dataclass(frozen=True)
class Summary:
    """The statistics of all complete pairs."""

    pairs: int
    sides: dict[str, dict[str, Mean]]
    """By side and measure."""
    difference_bits_per_byte: Mean | None
    verdict: str


@dataclass(frozen=True)
class StudyFile(Record):
    """The file of a paired study."""

    kind = "study"
    version = 2

    settings: Asked
    summary: Summary
    runs: list[Run]


def complete_pairs(runs: Sequence[Run]) -> list[Pair]:
    """The two runs of every seed that has both, in the order of the seeds."""
    found = {(run.seed, run.side): run for run in runs}
    seeds = sorted({run.seed for run in runs})
    return [
        (found[seed, OURS], found[seed, BASELINE]) for seed in seeds if all((seed, side) in found for side in SIDES)
    ]


def difference(pairs: Sequence[Pair]) -> Mean:
    """Bits per byte of mlx_tiny minus those of the baseline, by seed."""
    return Mean.of_differences(*([run.bits_per_byte for run in side] for side in zip(*pairs, strict=True)))


def means(runs: Sequence[Run]) -> dict[str, Mean]:
    """Mean of each measure."""
    return {field: Mean.of([getattr(run, field) for run in runs]) for field in MEASURES}


def summarize(runs: Sequence[Run]) -> Summary:
    """The statistics of all complete pairs."""
    pairs = complete_pairs(runs)
    sides = {side: means([pair[index] for pair in pairs]) for index, side in enumerate(SIDES)} if pairs else {}
    return Summary(len(pairs), sides, difference(pairs) if pairs else None, verdict(runs))


def table(runs: Sequence[Run]) -> Iterator[str]:
    """All runs; then mean ± standard deviation of each side, and the mean difference ± its standard error."""
    pairs, rows = complete_pairs(runs), list[dict[str, str]]()
    for run in sorted(runs, key=lambda run: (run.seed, SIDES.index(run.side))):
        pair = [p for p in pairs if p[0] is run]
        rows.append({"": f"{run.seed} {run.side}{' (disturbed)' if run.disturbed else ''}"})
        rows[-1] |= {title: form(getattr(run, field)) for field, (title, form) in MEASURES.items()}
        rows[-1]["difference"] = f"{difference(pair).mean:+.4f}" if pair else ""
    for side, measured in summarize(runs).sides.items():
        rows.append({"": f"mean {side}"})
        for field, (title, form) in MEASURES.items():
            rows[-1][title] = _plus_minus(measured[field].mean, measured[field].std, form)
        if side == OURS:
            found = difference(pairs)
            rows[-1]["difference"] = _plus_minus(found.mean, found.standard_error, "{:.4f}".format, sign="+")
    titles = [title for title, _ in MEASURES.values()]
    titles.insert(1, "difference")
    columns = [Column(title, operator.methodcaller("get", title, "")) for title in titles]
    printed = Table[dict[str, str]](lambda row: row[""], columns)
    yield from printed.lines(rows, title="seed")
    yield from printed.legend()


def _plus_minus(mean: float, error: float | None, form: Callable[[float], str], sign: str = "") -> str:
    shown = (sign if mean >= 0 else "") + form(mean)
    return shown if error is None else f"{shown} ± {form(error)}"


def verdict(runs: Sequence[Run]) -> str:
    """What the complete pairs show, in words."""
    pairs = complete_pairs(runs)
    if not pairs:
        return "No pair is complete yet."
    found, baseline = difference(pairs), Mean.of([b.bits_per_byte for _, b in pairs])
    size = f"{abs(found.mean):.4f} bits per byte ({abs(found.mean) / baseline.mean:.1%}) "
    size += "lower" if found.mean < 0 else "higher"
    if found.margin_95 is None:
        return f"{OURS} is {size} in the only pair; the spread is unknown."
    wins = sum(ours.bits_per_byte < other.bits_per_byte for ours, other in pairs)
    lower, upper = found.mean - found.margin_95, found.mean + found.margin_95
    evidence = f"95% interval {lower:+.4f} to {upper:+.4f}, {OURS} lower in {wins} of {len(pairs)} pairs"
    if lower <= 0 <= upper:
        return f"No difference is shown: {OURS} is {size} on average, {evidence}."
    return f"{OURS} is {'stronger' if found.mean < 0 else 'weaker'}: {size} on average, {evidence}."
