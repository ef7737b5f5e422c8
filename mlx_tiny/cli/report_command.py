"""`mlx-tiny report`: shows the report of a run, or writes a page about several."""

from __future__ import annotations

from pathlib import Path

import click

from mlx_tiny.cli.options import UserPath
from mlx_tiny.cli.output import say, show
from mlx_tiny.tools.waiting import Waiting


@click.command()
@click.argument("runs", type=UserPath(), nargs=-1, required=True, metavar="RUN...")
@click.option("--html", type=UserPath(), help="Write one page about all of them to this file, for any browser.")
def command(runs: tuple[Path, ...], html: Path | None) -> None:
    """Show the report of each RUN, or write a page that shows and compares them.

    The page is one file without scripts, and needs no network: strength over time, what the model wrote while it
    learned, which words surprised it, what it cost, and how to repeat it. It needs matplotlib (the extra `plot`).

    \b
      mlx-tiny report runs/notes
      mlx-tiny report runs/a runs/b --html comparison.html
    """
    if html is not None:
        with Waiting("the page"):
            from mlx_tiny.report.page import write_page

            write_page(runs, html, say)
        say(f"written: {html}")
        return
    from mlx_tiny.report.report import as_text, read_report
    from mlx_tiny.training.checkpoint import RunFolder

    for path in runs:
        show(as_text(read_report(RunFolder(path))))
