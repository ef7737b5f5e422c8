"""`mlx-tiny data describe`: looks at a table, and proposes how its rows become histories of events."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

_FEW_HISTORIES, _SHARE_OF_FEW = 5000, 0.1
"""Of few histories more are held out, because the default share would hardly measure anything."""
_EPOCHS, _LARGEST_BUDGET_TOKENS = 16, 3_000_000
"""A small table is learned by heart after more epochs, as measured on one of 10,000 rows (benchmarks/LOG.md). A budget
of more tokens would be longer than the default one, which then stays."""


@click.command("describe", short_help="Propose how rows of a table become histories of events.")
@click.argument("table")
@click.option("--out", type=click.Path(path_type=Path), help="File to write. [default: print it]")
@click.option("--header/--no-header", default=True, help="Whether the first line names the columns.")
def describe(table: str, out: Path | None, header: bool) -> None:
    """Propose how the rows of TABLE become histories of events, as a schema that you can edit.

    TABLE is a .csv, .tsv, .jsonl, .json or .parquet. The schema says what groups rows into one history, what orders
    them, and what an event consists of, with a reason for each choice.

    \b
      mlx-tiny data describe purchases.csv --out schema.yaml
      mlx-tiny train --data purchases.csv --schema schema.yaml
    """
    from mlx_tiny.cli.session import say
    from mlx_tiny.data.documents import Rules
    from mlx_tiny.data.events.describe import LARGEST_ROWS
    from mlx_tiny.data.events.describe import describe as proposed
    from mlx_tiny.data.find import find
    from mlx_tiny.data.formats.records import read_records
    from mlx_tiny.files import atomic_write, require_writable

    require_writable(out)
    files = find((table,)).train
    rows = (row for file in files for row in read_records(file, Rules(header=header)))
    proposal = proposed(rows, table)
    if out is None:
        click.echo(proposal.text, nl=False)
    else:
        with atomic_write(out, "w") as file:
            file.write(proposal.text)
    words = ["mlx-tiny", "train", "--data", table, "--schema", str(out or "schema.yaml")]
    if proposal.histories < _FEW_HISTORIES and proposal.schema.split == "history":
        words += ["--held-out", f"{_SHARE_OF_FEW:g}"]
    whole = proposal.events < LARGEST_ROWS
    if whole and (budget := _EPOCHS * proposal.tokens) <= _LARGEST_BUDGET_TOKENS:
        words += ["--budget", f"{max(1, round(budget / 1000))}ktok"]
    looked_at = f"{'' if whole else 'the first '}{proposal.events:,} rows"
    say(f"looked at {looked_at}. Check the schema, and then: {shlex.join(words)}")
