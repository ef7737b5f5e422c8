"""Compares two files of `mlx-tiny bench --output`: how many times faster the second machine or version is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.command_line import start
from mlx_tiny.bench.record import Benchmarks, Result
from mlx_tiny.bench.table import machine_line
from mlx_tiny.records import read, to_json
from mlx_tiny.tools.tables import OVERLOADED, Column, Table, wrapped
from mlx_tiny.units import format_duration

SIDES = ("first", "second")


@dataclass(frozen=True)
class Comparison:
    """A measurement of one implementation in both files; a missing time has a reason."""

    name: tuple[str, ...]
    first_s: float | None
    second_s: float | None
    first_reason: str | None
    second_reason: str | None
    speed_up: float | None
    low: float | None
    """p10 of the first divided by p90 of the second; `high` is p90 of the first divided by p10 of the second."""
    high: float | None
    overloaded: bool


def compare(first: Benchmarks, second: Benchmarks) -> list[Comparison]:
    """A comparison for each result in either file, in the order of the first."""
    one, other = ({result.name: result for result in file.results} for file in (first, second))
    return [_comparison(name, one.get(name), other.get(name)) for name in dict.fromkeys((*one, *other))]


def _comparison(name: tuple[str, ...], first: Result | None, second: Result | None) -> Comparison:
    one, other = (None if result is None else result.time_s for result in (first, second))
    why, other_why = ("not measured" if result is None else result.reason for result in (first, second))
    speed_up = low = high = None
    if one is not None and other is not None:
        speed_up, low, high = one.median / other.median, one.p10 / other.p90, one.p90 / other.p10
    one_s, other_s = (None if time_s is None else time_s.median for time_s in (one, other))
    overloaded = any(time_s is not None and time_s.overloaded for time_s in (one, other))
    return Comparison(name, one_s, other_s, why, other_why, speed_up, low, high, overloaded)


def lines(first: Benchmarks, second: Benchmarks) -> Iterator[str]:
    """The comparison as a table, without results that have a time in neither file."""
    for side, file in zip(SIDES, (first, second), strict=True):
        yield from wrapped(f"{side}: {file.created}, {machine_line(file.machine)}")
        for warning in file.warnings:
            yield from wrapped(f"{side}: warning: {warning}")
    table = Table[Comparison](
        lambda c: c.name[-1],
        [
            Column("first", lambda c: format_duration(c.first_s or 0.0)),
            Column("second", lambda c: format_duration(c.second_s or 0.0)),
            Column("ratio", _ratio, "how many times faster the second is"),
        ],
        note=_note,
        marks=[(OVERLOADED, "the machine was too loaded to measure")],
    )
    shown = [c for c in compare(first, second) if (c.first_s, c.second_s) != (None, None)]
    for name, block in itertools.groupby(shown, key=lambda c: c.name[1:-1]):
        yield from ("", *wrapped(", ".join(name)), *table.lines(list(block)))
    yield ""
    yield from table.legend()


def _ratio(comparison: Comparison) -> str:
    low, high = comparison.low, comparison.high
    return f"{comparison.speed_up:.2f} ({low:.2f} to {high:.2f}){OVERLOADED * comparison.overloaded}"


def _note(comparison: Comparison) -> str | None:
    """The time or reason of each file, if one has no time."""
    if comparison.speed_up is not None:
        return None
    sides = ((comparison.first_s, comparison.first_reason), (comparison.second_s, comparison.second_reason))
    words = [reason if time_s is None else format_duration(time_s) for time_s, reason in sides]
    return "; ".join(f"{side}: {word}" for side, word in zip(SIDES, words, strict=True))


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(first: Path, second: Path, as_json: bool) -> None:
    """Compare two files of `mlx-tiny bench --output`, result by result.

    A ratio has a `!` if one of its times spread too much.
    """
    files = [read(path, Benchmarks, "file of benchmarks") for path in (first, second)]
    if as_json:
        click.echo(to_json({"comparisons": compare(*files)}))
        return
    for line in lines(*files):
        click.echo(line)


if __name__ == "__main__":
    start(command)
