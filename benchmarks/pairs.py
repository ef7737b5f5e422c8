"""Statistics of paired runs: per side a mean and its spread, and of each seed's difference a mean and its error.

A run is a dictionary with `seed`, `side` and the measures below; a pair is one run of each side with the same seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx_tiny.tools.statistics import Mean
from mlx_tiny.units import format_bytes, format_count

OURS, BASELINE = "mlx_tiny", "gpt2"
SIDES = (OURS, BASELINE)
DISTURBED_CORES = 0.1
"""From here on, what other processes used during a run makes it suspect."""
MEASURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "bits_per_byte": ("bits per byte", lambda value: f"{value:.4f}"),
    "tokens": ("tokens", format_count),
    "tokens_per_s": ("tokens/s", format_count),
    "peak_memory_bytes": ("peak memory", format_bytes),
    "seconds": ("seconds", lambda value: f"{value:.1f}"),
}
"""Key of a run -> column and form."""
Run = dict[str, Any]
Pair = tuple[Run, Run]


def complete_pairs(runs: Sequence[Run]) -> list[Pair]:
    """Ours and the baseline's run of every seed that has both, in the order of the seeds."""
    found = {(run["seed"], run["side"]): run for run in runs}
    seeds = sorted({run["seed"] for run in runs})
    return [
        (found[seed, OURS], found[seed, BASELINE]) for seed in seeds if all((seed, side) in found for side in SIDES)
    ]


def difference(pairs: Sequence[Pair]) -> Mean:
    """Ours less the baseline's bits per byte, seed by seed."""
    return Mean.of_differences(*([run["bits_per_byte"] for run in side] for side in zip(*pairs, strict=True)))


def disturbed(run: Run) -> bool:
    """Whether other processes used the cores during the run, as far as is known."""
    return (run.get("cores_used_by_others") or 0.0) > DISTURBED_CORES


def summarize(runs: Sequence[Run]) -> dict[str, Any]:
    """The statistics of all complete pairs, ready for JSON."""
    pairs = complete_pairs(runs)
    if not pairs:
        return {"pairs": 0}
    found = difference(pairs)
    return {
        "pairs": len(pairs),
        **{side: _side_summary([pair[index] for pair in pairs]) for index, side in enumerate(SIDES)},
        "difference_bits_per_byte": {
            "mean": found.mean,
            "standard_error": found.standard_error,
            "margin_95": found.margin_95,
        },
        "verdict": verdict(runs),
    }


def _side_summary(runs: Sequence[Run]) -> dict[str, Any]:
    spreads = {key: Mean.of([run[key] for run in runs]) for key in MEASURES}
    return {key: {"mean": spread.mean, "std": spread.std} for key, spread in spreads.items()}


def table(runs: Sequence[Run]) -> str:
    """All runs, then mean ± standard deviation of each side; the difference's mean has its standard error."""
    pairs = complete_pairs(runs)
    rows = [["seed", "side", *(title for title, _ in MEASURES.values()), "difference"]]
    for seed in sorted({run["seed"] for run in runs}):
        for run in sorted((r for r in runs if r["seed"] == seed), key=lambda r: SIDES.index(r["side"])):
            pair = [p for p in pairs if p[0] is run]
            mark = " (disturbed)" if disturbed(run) else ""
            measures = [form(run[key]) for key, (_, form) in MEASURES.items()]
            rows.append([str(seed), run["side"] + mark, *measures, f"{difference(pair).mean:+.4f}" if pair else ""])
    if pairs:
        found = difference(pairs)
        shown = _plus_minus(found.mean, found.standard_error, lambda value: f"{value:.4f}", sign="+")
        for index, side in enumerate(SIDES):
            rows.append(["mean", side, *_means([pair[index] for pair in pairs]), "" if index else shown])
    return _aligned(rows)


def _means(runs: Sequence[Run]) -> list[str]:
    spreads = [(Mean.of([run[key] for run in runs]), form) for key, (_, form) in MEASURES.items()]
    return [_plus_minus(spread.mean, spread.std, form) for spread, form in spreads]


def _plus_minus(mean: float, error: float | None, form: Callable[[float], str], sign: str = "") -> str:
    shown = (sign if mean >= 0 else "") + form(mean)
    return shown if error is None else f"{shown} ± {form(error)}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = ["-" * width for width in widths]
    padded = [
        [cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (rows[0], rule, *rows[1:])
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def verdict(runs: Sequence[Run]) -> str:
    """What the complete pairs show, in words."""
    pairs = complete_pairs(runs)
    if not pairs:
        return "No pair is complete yet."
    found, baseline = difference(pairs), Mean.of([b["bits_per_byte"] for _, b in pairs])
    size = f"{abs(found.mean):.4f} bits per byte ({abs(found.mean) / baseline.mean:.1%}) "
    size += "lower" if found.mean < 0 else "higher"
    if found.margin_95 is None:
        return f"{OURS} is {size} in the only pair; the spread is unknown."
    wins = sum(ours["bits_per_byte"] < other["bits_per_byte"] for ours, other in pairs)
    lower, upper = found.mean - found.margin_95, found.mean + found.margin_95
    evidence = f"95% interval {lower:+.4f} to {upper:+.4f}, {OURS} lower in {wins} of {len(pairs)} pairs"
    if lower <= 0 <= upper:
        return f"No difference is shown: {OURS} is {size} on average, {evidence}."
    return f"{OURS} is {'stronger' if found.mean < 0 else 'weaker'}: {size} on average, {evidence}."
