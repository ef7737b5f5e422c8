"""What a reader of the page of results asks first, and the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from mlx_tiny.errors import TinyError
from mlx_tiny.report.comparing import ComparedRuns, compare
from mlx_tiny.report.markup import Content, element
from mlx_tiny.report.paired import undecided
from mlx_tiny.report.record import Report
from mlx_tiny.report.shown import Runs, key
from mlx_tiny.study.comparison import SIGNIFICANT, Comparison
from mlx_tiny.study.runs import COUNTING, PLAIN
from mlx_tiny.units import format_bytes, format_count, format_flops, format_seconds

Answers = dict[str, list[Content]]
"""By the question; what is most important comes first."""
_WORDS = {COUNTING: "With counting", PLAIN: "The model alone"}


def answers(runs: Runs) -> Answers:
    """The questions and answers about one run, or about several."""
    return {
        **(_of_one(runs[0].report) if len(runs) == 1 else _of_several(runs)),
        "What did it cost?": _costs(runs),
        "How do I repeat it?": [element("a", "By the command below", href="#repeat")],
    }


def _of_several(runs: Runs) -> Answers:
    try:
        found = compare([run.run.path for run in runs])
    except TinyError as error:
        return {"Which is better?": [_strong("They cannot be compared."), f"{error}"]}
    rows = sorted(found.comparisons, key=lambda row: row.measure != COUNTING)
    others = [row for row in rows if row.arm != found.sides[0].name]
    return {
        "Which is better?": list(_ranked(rows)),
        "By how much?": [_difference(row, _first(rows, row.measure)) for row in others],
        "Is it noise?": list(_noise(found, others)),
    }


def _noise(found: ComparedRuns, others: Sequence[Comparison]) -> Iterator[Content]:
    of_text = sorted(found.noise_of_text, key=lambda noise: noise.measure != COUNTING)
    for measure in dict.fromkeys(noise.measure for noise in of_text):
        texts = [noise.interval for noise in of_text if noise.measure == measure]
        seeds = [row.p_value for row in others if row.measure == measure]
        yield _strong(f"{_WORDS[measure]}: {_lead(texts, [] if found.noise_of_seeds else seeds)}")
    yield from [found.noise_of_seeds] if found.noise_of_seeds else [row.verdict for row in others]
    yield from (noise.verdict for noise in of_text)
    if found.beside:
        yield f"Taken too, as they lie beside and differ in the seed only: {', '.join(found.beside)}."
    yield from (f"{doubt[:1].upper()}{doubt[1:]}." for doubt in found.doubts)


def _lead(texts: Sequence[tuple[float, float] | None], seeds: Sequence[float | None]) -> str:
    """The shortest answer to whether differences are noise.

    Args:
        texts: the interval of each difference over other texts.
        seeds: the p-value of each over other seeds; none where that is not known.
    """
    if not any(texts):
        return "that is not known"
    of_text = {interval is None or undecided(interval) for interval in texts}
    of_seeds = {value is None or value >= SIGNIFICANT for value in seeds}
    if of_text == {True} or of_seeds == {True}:
        return "it may be"
    if of_text == {False} and of_seeds == {False}:
        return "no"
    return "not of the text; of the seed it is not known" if of_text == {False} and not of_seeds else "of some"


def _ranked(rows: Sequence[Comparison]) -> Iterator[Content]:
    """The sides from the strongest to the weakest, by each measure of strength."""
    for measure in dict.fromkeys(row.measure for row in rows):
        ranked = sorted((row for row in rows if row.measure == measure), key=_bits)
        bits = [f"{_bits(row):.4f}" for row in ranked]
        best = f"only {ranked[0].arm}" if len(ranked) == 1 else "none" if bits[0] == bits[1] else ranked[0].arm
        listed = ", ".join(
            f"{row.arm} {value}{f' in {row.seeds} seeds' * (row.seeds > 1)}"
            for row, value in zip(ranked, bits, strict=True)
        )
        yield element("span", _strong(f"{_WORDS[measure]}: {best}"), f" ({listed} bits per byte)")


def _first(rows: Sequence[Comparison], measure: str) -> Comparison:
    """The first side by this measure, or by the plain one where it has no other."""
    return next((row for row in rows if row.measure == measure and row.arm == rows[0].arm), rows[0])


def _bits(row: Comparison) -> float:
    return row.means[row.measure].mean


def _difference(row: Comparison, first: Comparison) -> Content:
    """By the pairs of equal seeds, or of the means where there are none."""
    difference = _bits(row) - _bits(first) if row.difference is None else row.difference.mean
    relative = difference / _bits(first) if row.relative is None else row.relative
    pairs = f", {row.difference.count} pairs of seeds" if row.difference and row.difference.count > 1 else ""
    size = f"{abs(difference):.4f}"
    side = "as strong as" if not float(size) else "stronger than" if difference < 0 else "weaker than"
    return element(
        "span",
        _strong(f"{size} bits per byte ({abs(relative):.1%})"),
        f" {row.arm} is {side} {first.arm} ({_WORDS[row.measure].lower()}{pairs})",
    )


def _of_one(report: Report) -> Answers:
    mixed = report.with_counting_bits_per_byte
    strength = report.bits_per_byte if mixed is None else mixed
    good: list[Content] = [_strong(f"{strength:.4f} bits per byte{', mixed with counting' * (mixed is not None)}")]
    if mixed is not None:
        good.append(f"The model alone needs {report.bits_per_byte:.4f}.")
    compared = list[Content]()
    if (counting := report.counting_bits_per_byte) is not None:
        side = "weaker" if strength > counting else "stronger"
        size = f"{abs(strength - counting):.4f}" if not counting else f"{abs(1 - strength / counting):.1%}"
        compared += [_strong(f"{size} {side} than counting alone"), f"Counting alone needs {counting:.4f}."]
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
