"""The files that are written when all is measured: refused before minutes are spent, and pictures among them."""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_write, explained


def default_name(chip: str, now: datetime.datetime) -> Path:
    """The file that `bench --all` writes where none is named; its name tells machines and days apart."""
    words = re.findall(r"[a-z0-9]+", chip.lower())
    return Path("-".join(["mlx-tiny-bench", *words, f"{now:%Y%m%d-%H%M%S}"]) + ".json")


def require_writable(*paths: Path | None) -> None:
    """Say now what would keep these files from being written later; None stands for no file.

    Raises:
        TinyError: one is a folder or no ordinary file, or its folder is missing or takes no file.
    """
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise TinyError(
                f"{path} is a folder", expected="the name of a file", remedy=f"Name a file in it, as {path / 'bench'}"
            )
        if path.exists() and not path.is_file():
            raise TinyError(f"{path} is no ordinary file, and would be replaced by one", remedy="Name another file")
        with explained(path.parent):
            next(path.parent.iterdir(), None)
        try:
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise TinyError(
                f"{path} cannot be written",
                got=error.strerror or error,
                remedy="Name a file in another folder, or change the permissions of this one",
            ) from error


def require_matplotlib(user: str = "--plot") -> None:
    """Say before anything is measured that no picture can be drawn.

    Raises:
        TinyError: matplotlib is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise TinyError(
            f"matplotlib is not installed, and {user} needs it", remedy="Install it with `pip install 'mlx-tiny[plot]'`"
        )


@contextlib.contextmanager
def picture(path: Path, **settings: Any) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes, written as a PNG when the block ends.

    Args:
        settings: as `pyplot.subplots` takes them.
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
