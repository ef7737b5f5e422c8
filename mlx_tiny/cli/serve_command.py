"""`mlx-tiny serve`: the server of mlx-lm with a trained model, and a page to talk to it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from mlx_tiny.cli.options import UserPath
from mlx_tiny.cli.output import say, show
from mlx_tiny.tools.waiting import Waiting


@click.command()
@click.argument("run", type=UserPath())
@click.option(
    "--port",
    type=click.IntRange(1, 65534),
    default=8080,
    show_default=True,
    help="Port of the server; the page has the next one.",
)
def command(run: Path, port: int) -> None:
    """Serve the model in folder RUN to programs on this machine, until Ctrl-C.

    The server is that of mlx-lm, which answers as OpenAI's does. A page shows what the model writes, and how surprising
    each piece was to it. The model alone is served, without counting.

    \b
      mlx-tiny serve runs/notes
      curl http://127.0.0.1:8080/v1/completions -d '{"prompt": "Once", "max_tokens": 50}'
    """
    from mlx_tiny.export.serving import served
    from mlx_tiny.tools.tables import block

    with ExitStack() as stack:
        with Waiting("starting the server"):
            server = stack.enter_context(served(run, port, say))
        show(block({"page": server.page, "endpoint": server.endpoint}))
        say("Ctrl-C ends both.")
        server.wait()
