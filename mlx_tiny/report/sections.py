"""The parts of the page of results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element

from mlx_tiny.config.differences import in_words
from mlx_tiny.records import SampleRecord
from mlx_tiny.report import drawings
from mlx_tiny.report.answers import answers
from mlx_tiny.report.comparing import differing
from mlx_tiny.report.curves import AXES
from mlx_tiny.report.markup import Content, element, figure, section, table, tabs
from mlx_tiny.report.record import Report
from mlx_tiny.report.report import tables_of
from mlx_tiny.report.shown import Runs, key, legend
from mlx_tiny.report.surprise import Surprise
from mlx_tiny.tools.plots import glyph
from mlx_tiny.units import format_seconds

_MOST_SURPRISING_BITS = 10.0
_STRONGEST_HEAT = 0.85
_MOST_BESIDE = 3
"""Runs whose table has room beside the drawing."""


def in_short(runs: Runs) -> Element:
    """The answers to what a reader asks first, and the strength of each run with its interval."""
    cards = [
        element("div", element("dt", question), *(element("dd", part) for part in parts))
        for question, parts in answers(runs).items()
    ]
    notes = [
        element("p", element("b", f"{run.name}: ") if len(runs) > 1 else None, note, class_="warning")
        for run in runs
        for note in run.notes
    ]
    tables = [side_by_side(runs, "Strength")]
    beside = "pair" if len(runs) <= _MOST_BESIDE else ""
    if any("Texts" in tables_of(run.report) for run in runs):
        tables += [element("h3", "On each text"), side_by_side(runs, "Texts")]
    return section(
        "short",
        "In short",
        element("dl", *cards, class_="answers"),
        *notes,
        element(
            "div",
            element("div", legend(runs), _intervals([run.report for run in runs])),
            element("div", *tables),
            class_=beside,
        ),
    )


def _references(reports: Sequence[Report]) -> str:
    """What else is in the drawing, as far as the runs have it."""
    meanings = {
        "with_counting_bits_per_byte": "Hollow: mixed with counting.",
        "counting_bits_per_byte": "Dotted: counting alone.",
        "entropy_floor_bits_per_byte": "Dashed: the entropy of the text.",
    }
    found = [name for name in meanings if any(getattr(report, name) is not None for report in reports)]
    return " ".join(meanings[name] for name in found)


def _intervals(reports: Sequence[Report]) -> Element:
    """The strength of each run with its interval: of what the run gives, and of the model alone."""
    alone = [(report.bits_per_byte, report.interval_bits_per_byte) for report in reports]
    mixed = [(report.with_counting_bits_per_byte, report.interval_with_counting_bits_per_byte) for report in reports]
    views: dict[str, Sequence[drawings.Interval]] = {"mixed with counting": mixed, "the model alone": alone}
    caption = "Each mark is the result of a run"
    caption += ", the line behind it its 95 % interval over texts like this." if any(row[1] for row in alone) else "."
    if len(reports) > 1:
        caption += " They may overlap where a difference is no noise of the text, as all runs read the same text."
    drawn = {
        title: figure(
            drawings.intervals(title.split()[-1], rows, hollow=rows is mixed), f"Bits per byte, {title}", caption
        )
        for title, rows in views.items()
        if any(value is not None for value, _ in rows)
    }
    return tabs("result", drawn) if len(drawn) > 1 else drawn["the model alone"]


def over_what_was_spent(runs: Runs) -> Element:
    """Strength over time, tokens and FLOPs."""
    pairs = [(run.report, run.curves) for run in runs]
    views = {
        {"seconds": "time", "tokens": "tokens", "flops": "FLOPs"}[axis]: figure(
            drawings.strength(axis, pairs), f"Bits per byte of each run over {drawings.LABELS[axis]}"
        )
        for axis in AXES
    }
    caption = (
        "Lower is better. Markers: validation text, during the run only its beginning, at the end what the result is "
        "measured on. Thin lines: the text being learned, as means over parts of the run. "
        + _references([run.report for run in runs])
    )
    drawn = element("div", legend(runs), tabs("spent", views))
    return section(
        "strength",
        "How it became so strong",
        element("div", drawn, element("p", caption, class_="note"), class_="pair"),
    )


def texts(runs: Runs) -> Element:
    """What each run wrote at several ages."""
    parts = list[Content]()
    for number, run in enumerate(runs):
        parts.append(element("h3", key(number, run)) if len(runs) > 1 else None)
        cards = [_text_card(_age(sample), sample.text) for sample in run.curves.samples]
        cards += [_text_card(_end(run.report), sample) for sample in run.report.samples[:1]]
        parts.append(element("div", *cards, class_="texts"))
        more = run.report.samples[1:]
        if more:
            shown = element("div", *(_text_card("another text", sample) for sample in more), class_="texts")
            parts.append(element("details", element("summary", f"{len(more)} more at the end"), shown))
    note = "Each text begins at nothing. Those from along the way were cut off after some words."
    return section("texts", "What it wrote, younger and older", element("p", note, class_="note"), *parts)


def _age(sample: SampleRecord) -> str:
    return f"after {sample.fraction:.0%} of the run, {format_seconds(sample.seconds)}"


def _end(report: Report) -> str:
    mixed = ", mixed with counting" if report.with_counting_bits_per_byte is not None else ""
    return f"at the end, {format_seconds(report.seconds)}{mixed}"


def _text_card(title: str, text: str) -> Element:
    return element("div", element("span", title, class_="age"), element("blockquote", text.strip() or "(nothing)"))


def surprise(runs: Runs) -> Element | None:
    """A text in which each piece is as dark as it was surprising."""
    found = [(number, run, run.surprise) for number, run in enumerate(runs) if run.surprise is not None]
    if not found:
        return None
    identity = "numbers"
    parts: list[Content] = [
        element("input", type="checkbox", id=identity, class_=identity),
        element("label", " show the bits of each piece", for_=identity),
    ]
    for number, run, shown in found:
        parts.append(element("h3", key(number, run)) if len(runs) > 1 else None)
        parts.append(element("p", f"From {shown.origin}.", class_="note"))
        views = {f"{asked}: {shown.bits_per_byte(asked):.3f}": _heat(shown, asked) for asked in shown.bits}
        parts.append(tabs(f"asked-{number}", views))
    scale = [element("span", f"{bits}", style=_heat_style(bits)) for bits in (0, 1, 2, 4, 6, 8, 10)]
    return section(
        "surprise",
        "What surprised it",
        element(
            "p",
            "Each piece of the text, as the model reads it, is the darker the less the model expected it. One bit is a "
            "choice between two pieces, ten bits are one among a thousand. The number beside a name is bits per byte.",
        ),
        element("p", "bits: ", *scale, class_="note scale"),
        *parts,
    )


def _heat(shown: Surprise, asked: str) -> Element:
    pieces = [
        element("span", piece, style=_heat_style(bits), title=f"{bits:.1f} bits", data_bits=f"{bits:.1f}")
        for piece, bits in zip(shown.pieces, shown.bits[asked], strict=True)
    ]
    return element("p", *pieces, class_="heat")


def _heat_style(bits: float) -> str:
    return f"--h:{min(bits / _MOST_SURPRISING_BITS, 1) * _STRONGEST_HEAT:.0%}"


def settings(runs: Runs) -> Element | None:
    """In what the runs differ."""
    if len(runs) == 1:
        return None
    found = differing([run.report for run in runs])
    rows = [(each.name.replace("_", "-"), *map(in_words, each.values)) for each in found]
    if rows:
        return section("settings", "In what they differ", table(_heading(runs), rows))
    return section("settings", "In what they differ", element("p", "In no setting, not even in the seed."))


def cost(runs: Runs) -> Element:
    """What each run took, and how its speed went."""
    pairs = [(run.report, run.curves) for run in runs]
    used = drawings.utilisation(pairs)
    return section(
        "cost",
        "What it cost",
        side_by_side(runs, "Cost"),
        element("h3", "Where the time went"),
        bars(runs, lambda report: report.phases_s, format_seconds),
        element("h3", "How fast it was"),
        legend(runs),
        element(
            "div",
            figure(drawings.speed(pairs), "Tokens per second of each run over its time"),
            figure(used, "Share of the measured peak of each run over its time") if used is not None else None,
            class_="pair",
        ),
    )


def size(runs: Runs) -> Element:
    """The parameters of each run by group."""
    groups = bars(runs, lambda report: report.parameters_by_group, lambda count: f"{count:,.0f}")
    whole = ", ".join(f"{run.report.parameters:,}" for run in runs)
    note = f"Parameters, by what they are for; in all {whole}."
    return section("size", "How large it is", element("p", note, class_="note"), groups)


def bars(runs: Runs, values: Callable[[Report], Mapping[str, float]], form: Callable[[float], str]) -> Element:
    """A table with a bar under each number, all in one scale."""
    found = [values(run.report) for run in runs]
    names = dict.fromkeys(itertools.chain.from_iterable(found))
    largest = max(itertools.chain.from_iterable(each.values() for each in found), default=0) or 1

    def cell(number: int, name: str) -> Content:
        if (value := found[number].get(name)) is None:
            return "–"
        bar = element(
            "span", class_="bar", style=f"width:{value / largest:.1%};color:{glyph(number)[1]}", aria_hidden="true"
        )
        return element("span", form(value), bar)

    made = table(_heading(runs), [[name, *(cell(number, name) for number in range(len(runs)))] for name in names])
    made.set("class", "scroll bars")
    return made


def side_by_side(runs: Runs, title: str) -> Element:
    """A table of the reports, with a column for each run."""
    return columns(runs, [tables_of(run.report).get(title, {}) for run in runs])


def columns(runs: Runs, found: Sequence[dict[str, str]]) -> Element:
    """Rows by their names, with a column for each run; a row that no run has is left out."""
    names: Iterable[str] = dict.fromkeys(itertools.chain.from_iterable(found))
    rows = [[name, *(each.get(name, "") or "–" for each in found)] for name in names]
    return table(_heading(runs), [row for row in rows if set(row[1:]) != {"–"}])


def _heading(runs: Runs) -> list[Content]:
    return ["", *(key(number, run) for number, run in enumerate(runs))] if len(runs) > 1 else [""]


def repeat(runs: Runs) -> Element:
    """How each run came about, and how to make it again."""
    parts = list[Content]()
    for number, run in enumerate(runs):
        parts.append(element("h3", key(number, run)) if len(runs) > 1 else None)
        command = run.report.command
        said = element("pre", element("code", command), tabindex="0") if command else None
        parts.append(said if said is not None else element("p", "An older version has not kept the command."))
    rows = [
        {name: row for name, row in tables_of(run.report)["Origin"].items() if row != run.report.command}
        for run in runs
    ]
    return section(
        "repeat",
        "How to repeat it",
        *parts,
        element("h3", "Where it came from"),
        columns(runs, rows),
        element("h3", "The machine"),
        side_by_side(runs, "Machine"),
    )


def words(runs: Runs) -> Element:
    """What the words of the page mean."""
    meanings = {
        "bits per byte": "How many bits the model needs to tell one byte of text that it has not seen; about one byte "
        "is a letter. 8 would be no knowledge at all. Lower is better, and a difference of 0.01 can be felt barely.",
        "counting": "No model: how often each piece followed those before it in the training text. A run mixes it with "
        "its model, and what you do with the run takes both.",
        "entropy of the text": "What no model can be below, where the text was generated and this is known exactly.",
        "interval": "Where the result would lie with 95 % if the text were another one of the same kind.",
        "model FLOPs": "Multiplications and additions that the training needs, however it is computed.",
        "utilisation": "What part of the fastest matrix products of this machine, measured just before, they were.",
        "fingerprint": "The same for two runs that were measured on the same text; only these can be compared.",
    }
    found = itertools.chain.from_iterable(
        (element("dt", word), element("dd", meaning)) for word, meaning in meanings.items()
    )
    return section("words", "Words", element("dl", *found, class_="words"))


ALL: tuple[Callable[[Runs], Element | None], ...] = (
    in_short,
    settings,
    over_what_was_spent,
    texts,
    surprise,
    cost,
    size,
    repeat,
    words,
)
"""The parts of the page, in their order; a part may have nothing to say."""
