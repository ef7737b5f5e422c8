"""Compares two files of `mlx-tiny bench --output`: how many times faster the second machine, or version, was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from benchmarks.command_line import start
from mlx_tiny.bench.results import name_of, read
from mlx_tiny.bench.table import OVERLOADED, aligned, duration, machine_line
from mlx_tiny.machine.description import Machine
from mlx_tiny.records import from_plain

SIDES = ("first", "second")


def compare(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """A comparison for each record that either file holds, in the order of the first.

    Returns:
        `name`; of each file `first_s` and `second_s` or `first_reason` and `second_reason`; where both have times,
        `speed_up`, with `low` and `high` between the slowest tenth of one and the fastest tenth of the other.
    """
    sides = [{name_of(record): record for record in file["records"]} for file in (first, second)]
    found = []
    for name in dict.fromkeys((*sides[0], *sides[1])):
        comparison: dict[str, Any] = {"name": list(name)}
        for side, records in zip(SIDES, sides, strict=True):
            record = records.get(name, {"reason": "not measured"})
            if "median_s" in record:
                comparison[f"{side}_s"], comparison[f"{side}_overloaded"] = record["median_s"], record["overloaded"]
            else:
                comparison[f"{side}_reason"] = record["reason"]
        if "first_s" in comparison and "second_s" in comparison:
            one, other = (records[name] for records in sides)
            comparison["speed_up"] = one["median_s"] / other["median_s"]
            comparison["low"], comparison["high"] = one["p10_s"] / other["p90_s"], one["p90_s"] / other["p10_s"]
        found.append(comparison)
    return found


def lines(first: dict[str, Any], second: dict[str, Any]) -> Iterator[str]:
    """The comparison as a table; what neither file has a time of is left out."""
    for side, file in zip(SIDES, (first, second), strict=True):
        yield f"{side}: {file['created']}, {machine_line(from_plain(Machine, file['machine']))}"
        for warning in file["warnings"]:
            yield f"{side}: warning: {warning}"
    rows = [["", "first", "second", "second is faster by"]]
    for comparison in compare(first, second):
        missing = [f"{side}: {comparison[f'{side}_reason']}" for side in SIDES if f"{side}_reason" in comparison]
        if len(missing) < len(SIDES):
            cells = [_time(comparison, side) for side in SIDES]
            rows.append([", ".join(comparison["name"]), *cells, *(missing or [_ratio(comparison)])])
    yield from aligned(rows)


def _ratio(comparison: dict[str, Any]) -> str:
    sign = OVERLOADED if any(comparison[f"{side}_overloaded"] for side in SIDES) else ""
    return f"{comparison['speed_up']:.2f} ({comparison['low']:.2f} to {comparison['high']:.2f}){sign}"


def _time(comparison: dict[str, Any], side: str) -> str:
    if f"{side}_s" not in comparison:
        return "-"
    return duration(comparison[f"{side}_s"]) + (OVERLOADED if comparison[f"{side}_overloaded"] else "")


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(first: Path, second: Path, as_json: bool) -> None:
    """Compare two files of `mlx-tiny bench --output`, record by record.

    A time that spread too much has a `!`, and so has a ratio to or from it.
    """
    files = read(first), read(second)
    if as_json:
        click.echo(json.dumps({"comparisons": compare(*files)}))
        return
    for line in lines(*files):
        click.echo(line)


if __name__ == "__main__":
    start(command)
