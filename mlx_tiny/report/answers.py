"""What a reader of the page of results asks first, and the answers."""

from __future__ import annotations

from mlx_tiny.report.markup import Content, element
from mlx_tiny.report.record import Report
from mlx_tiny.report.shown import Runs, key
from mlx_tiny.units import format_bytes, format_count, format_flops, format_seconds

Answers = dict[str, list[Content]]
"""By the question; what is most important comes first."""


def answers(runs: Runs) -> Answers:
    """The questions and answers about one run, or about several."""
    return {**(_of_one(runs[0].report) if len(runs) == 1 else {}), **_of_each(runs)}


def _of_one(report: Report) -> Answers:
    mixed = report.with_counting_bits_per_byte
    strength = report.bits_per_byte if mixed is None else mixed
    good: list[Content] = [f"{strength:.4f} bits per byte{', mixed with counting' * (mixed is not None)}"]
    if mixed is not None:
        good.append(f"The model alone needs {report.bits_per_byte:.4f}.")
    compared = list[Content]()
    if (counting := report.counting_bits_per_byte) is not None:
        side = "weaker" if strength > counting else "stronger"
        compared.append(f"{abs(1 - strength / counting):.1%} {side} than counting alone, which needs {counting:.4f}")
    if report.entropy_floor_bits_per_byte is not None:
        compared.append(f"No model can be below {report.entropy_floor_bits_per_byte:.4f}, the entropy of this text.")
    interval = report.interval_bits_per_byte if mixed is None else report.interval_with_counting_bits_per_byte
    certain: list[Content] = ["That is not known of this run."]
    if interval is not None:
        certain = [
            f"{interval[0]:.4f} to {interval[1]:.4f} on 95 % of texts like this one",
            f"By {report.interval_by}. What another seed would change is not in it.",
        ]
    found = {"How good is it?": good, "Compared with what?": compared, "How certain is that?": certain}
    return {question: parts for question, parts in found.items() if parts}


def _of_each(runs: Runs) -> Answers:
    cost = list[Content]()
    for number, run in enumerate(runs):
        name: list[Content] = [key(number, run), ": "] if len(runs) > 1 else []
        cost.append(element("span", *name, _cost(run.report)))
    return {
        "What did it cost?": cost,
    }


def _cost(report: Report) -> str:
    whole = sum(report.phases_s.values())
    return (
        f"{format_seconds(whole)} in all, {format_seconds(report.seconds)} of them training; "
        f"{format_count(report.tokens)} tokens, {format_flops(report.flops)}, "
        f"{format_bytes(report.peak_memory_bytes)} of memory"
    )
