"""Draws pictures by matplotlib, which is the extra `plot` and imported nowhere else."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_write


def installed() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def require_matplotlib(user: str = "--plot") -> None:
    """Check for matplotlib before anything is measured; errors name its `user`.

    Raises:
        TinyError: it is not installed.
    """
    if not installed():
        raise TinyError(
            f"matplotlib is not installed, and {user} needs it", remedy="Install it with `pip install 'mlx-tiny[plot]'`"
        )


@contextlib.contextmanager
def picture(path: Path, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes, written as a PNG when the block ends.

    Args:
        settings: of `pyplot.subplots`.
    """
    import matplotlib

    matplotlib.use("Agg")  # no window
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(layout="constrained", **settings)
    try:
        yield figure, axes
        with atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=120)
    finally:
        pyplot.close(figure)
