"""`mlx-tiny data describe`: looks at a table, and proposes how its rows become histories of events."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_tiny.cli.options import UserPath
from mlx_tiny.cli.output import say, show

if TYPE_CHECKING:
    from mlx_tiny.data.events.describe import Proposal

_FEW_HISTORIES, _SHARE_OF_FEW = 5000, 0.1
"""Of few histories more are held out, because the default share would hardly measure anything."""
_EPOCHS, _LARGEST_BUDGET_TOKENS = 16, 3_000_000
"""A small table is learned by heart after more epochs, as measured on one of 10,000 rows (benchmarks/LOG.md). A budget
of more tokens would be longer than the default one, which then stays."""


@click.command("describe", short_help="Propose how rows of a table become histories of events.")
@click.argument("table")
@click.option("--out", type=UserPath(), help="File to write. [default: print it]")
@click.option("--header/--no-header", default=True, help="Whether the first line names the columns.")
def describe(table: str, out: Path | None, header: bool) -> None:
    """Propose how the rows of TABLE become histories of events, as a schema that you can edit.

    TABLE is a .csv, .tsv, .jsonl, .json or .parquet. The schema says what groups rows into one history, what orders
    them, and what an event consists of, with a reason for each choice.

    \b
      mlx-tiny data describe purchases.csv --out schema.yaml
      mlx-tiny train --data purchases.csv --schema schema.yaml
    """
    from mlx_tiny.data.documents import Rules
    from mlx_tiny.data.events.describe import describe as proposed
    from mlx_tiny.data.find import find
    from mlx_tiny.data.formats.records import read_records
    from mlx_tiny.files import atomic_write, require_writable
    from mlx_tiny.tools.processes import again

    require_writable(out)
    files = find((table,)).train
    rows = (row for file in files for row in read_records(file, Rules(header=header)))
    proposal = proposed(rows, table)
    if out is None:
        show(proposal.text.removesuffix("\n"))
    else:
        with atomic_write(out, "w") as file:
            file.write(proposal.text)
    looked_at = f"{'' if _is_whole(proposal) else 'the first '}{proposal.events:,} rows"
    say(f"looked at {looked_at}. Check the schema, and then:")
    for words in next_commands(table, out, proposal, header=header):
        say(f"  {again(*words)}")


def next_commands(table: str, out: Path | None, proposal: Proposal, *, header: bool) -> Iterator[list[str]]:
    """The words after `mlx-tiny` of the commands with which the user goes on.

    Args:
        table: its name.
        out: where the schema was written; None where it was only printed.
        proposal: what was found in the table.
        header: whether the first line names the columns.
    """
    from mlx_tiny.units import format_count

    without_header = [] if header else ["--no-header"]
    if out is None:
        out = Path("schema.yaml")
        yield ["data", "describe", table, *without_header, "--out", str(out)]
    words = ["train", "--data", table, *without_header, "--schema", str(out)]
    if proposal.histories < _FEW_HISTORIES and proposal.schema.split == "history":
        words += ["--held-out", f"{_SHARE_OF_FEW:g}"]
    if _is_whole(proposal) and (budget := _EPOCHS * proposal.tokens) <= _LARGEST_BUDGET_TOKENS:
        words += ["--budget", format_count(float(f"{max(budget, 1000):.2g}"), "tok")]
    folder = Path("runs", re.sub(r"\W+", "-", Path(table).stem).strip("-") or "events")
    yield [*words, "--run", str(folder)] if not folder.exists() else words


def _is_whole(proposal: Proposal) -> bool:
    """Whether the whole table was looked at."""
    from mlx_tiny.data.events.describe import LARGEST_ROWS

    return proposal.events < LARGEST_ROWS
