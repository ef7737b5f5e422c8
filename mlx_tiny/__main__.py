"""`python -m mlx_tiny` is `mlx-tiny`."""

from __future__ import annotations

import signal

import mlx_tiny.tools.laps  # noqa: F401  first, because its clock begins when it is imported


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback also while it is loaded."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mlx_tiny import cli

    cli.main()


if __name__ == "__main__":
    main()
