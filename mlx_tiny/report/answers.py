"""What a reader of the page of results asks first, and the answers."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from mlx_tiny.errors import TinyError
from mlx_tiny.report.comparing import compare
from mlx_tiny.report.markup import Content, element
from mlx_tiny.report.record import Report
from mlx_tiny.report.shown import Runs, key
from mlx_tiny.study.comparison import SIGNIFICANT, Comparison
from mlx_tiny.study.runs import COUNTING, PLAIN
from mlx_tiny.units import format_bytes, format_count, format_flops, format_seconds

Answers = dict[str, list[Content]]
"""By the question; what is most important comes first."""


def answers(runs: Runs) -> Answers:
    """The questions and answers about one run, or about several."""
    return {**(_of_one(runs[0].report) if len(runs) == 1 else _of_several(runs)), "What did it cost?": _costs(runs)}


def _of_several(runs: Runs) -> Answers:
    try:
        found = compare([run.run.path for run in runs])
    except TinyError as error:
        return {"Which is better?": [_strong("They cannot be compared."), f"{error}"]}
    measures = {row.measure for row in found.comparisons}
    rows = [row for row in found.comparisons if row.measure == (COUNTING if COUNTING in measures else PLAIN)]
    best = min(rows, key=_bits)
    mixed = ", mixed with counting" if best.measure == COUNTING else ""
    better: list[Content] = [_strong(f"{best.arm}: {_bits(best):.4f} bits per byte{mixed}")]
    better += [f"{row.arm}: {_bits(row):.4f}." for row in rows if row is not best]
    others = [row for row in rows if row.arm != found.sides[0].name]
    noise: list[Content] = [_strong(_lead(others)), *(row.verdict for row in rows if row.verdict)]
    beside = ", ".join(found.beside)
    noise.append(f"Taken too, as they lie beside and differ in the seed only: {beside}." if beside else None)
    return {
        "Which is better?": better,
        "By how much?": [_difference(row, rows[0]) for row in others],
        "Is it noise?": [*noise, *(f"{doubt[:1].upper()}{doubt[1:]}." for doubt in found.doubts)],
    }


def _bits(row: Comparison) -> float:
    return row.means[row.measure].mean


def _difference(row: Comparison, first: Comparison) -> Content:
    """By the pairs of equal seeds, or of the means where there are none."""
    difference = _bits(row) - _bits(first) if row.difference is None else row.difference.mean
    relative = difference / _bits(first) if row.relative is None else row.relative
    side = "lower" if difference < 0 else "higher"
    size = f"{abs(difference):.4f} bits per byte ({abs(relative):.1%})"
    return element("span", _strong(size), f" {row.arm} is {side} than {first.arm}")


def _lead(others: Sequence[Comparison]) -> str:
    """The shortest answer to whether differences are noise."""
    known = [row.p_value for row in others if row.p_value is not None]
    if not known:
        return "That cannot be known from one run of each."
    if len(known) == len(others) and max(known) < SIGNIFICANT:
        return "No."
    return "It may be." if min(known) >= SIGNIFICANT else "Of some."


def _of_one(report: Report) -> Answers:
    mixed = report.with_counting_bits_per_byte
    strength = report.bits_per_byte if mixed is None else mixed
    good: list[Content] = [_strong(f"{strength:.4f} bits per byte{', mixed with counting' * (mixed is not None)}")]
    if mixed is not None:
        good.append(f"The model alone needs {report.bits_per_byte:.4f}.")
    compared = list[Content]()
    if (counting := report.counting_bits_per_byte) is not None:
        side = "weaker" if strength > counting else "stronger"
        size = f"{abs(1 - strength / counting):.1%} {side} than counting alone"
        compared += [_strong(size), f"Counting alone needs {counting:.4f}."]
    if report.entropy_floor_bits_per_byte is not None:
        compared.append(f"No model can be below {report.entropy_floor_bits_per_byte:.4f}, the entropy of this text.")
    interval = report.interval_bits_per_byte if mixed is None else report.interval_with_counting_bits_per_byte
    certain: list[Content] = ["That is not known of this run."]
    if interval is not None:
        certain = [
            _strong(f"{interval[0]:.4f} to {interval[1]:.4f} on 95 % of texts like this one"),
            f"By {report.interval_by}. What another seed would change is not in it.",
        ]
    found = {"How good is it?": good, "Compared with what?": compared, "How certain is that?": certain}
    return {question: parts for question, parts in found.items() if parts}


def _costs(runs: Runs) -> list[Content]:
    if len(runs) == 1:
        return [_strong(_cost(runs[0].report))]
    return [element("span", key(number, run), f": {_cost(run.report)}") for number, run in enumerate(runs)]


def _strong(text: str) -> Element:
    return element("strong", text)


def _cost(report: Report) -> str:
    whole = sum(report.phases_s.values())
    return (
        f"{format_seconds(whole)} in all, {format_seconds(report.seconds)} of them training; "
        f"{format_count(report.tokens)} tokens, {format_flops(report.flops)}, "
        f"{format_bytes(report.peak_memory_bytes)} of memory"
    )
