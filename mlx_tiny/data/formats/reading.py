"""What every format gives: how a file is read, and what its rows contain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlx_tiny.data.columns import Choice
from mlx_tiny.data.documents import Item


@dataclass(frozen=True)
class FileLook:
    """What the beginning of a file shows."""

    how: str
    """How its text becomes documents, in one line such as "csv, delimiter ';', column 'text' (98 % of rows)"."""


@dataclass(frozen=True)
class Reading:
    """A file that has been opened, and is read once."""

    look: FileLook
    items: Iterator[Item]
    """What each row contains, in the order of the file."""
    outer: str | None = None
    """Characters around a text that do not belong to it; None for all white space."""
    table: tuple[tuple[str, ...], Choice] | None = None
    """Of a table with a header: the names in it, and what a document is below it."""
