"""Finds the column of a table, or the key of JSON lines, that contains the text."""

from __future__ import annotations

from mlx_tiny.errors import TinyError

TEXT_NAMES = ("text", "story", "stories", "content", "document", "doc", "body", "sentence", "article")


def choose_column(strings: list[str], names: list[str], where: str, what: str) -> str:
    """The only column of strings, or the only one of them with a usual name.

    Args:
        strings: names of the columns of strings.
        names: names of all columns, for the error.
        where: the file's name, for the error.
        what: "column" or "key", for the error.

    Raises:
        TinyError: no candidate, or several.
    """
    usual = [name for name in strings if name.strip().lower() in TEXT_NAMES]
    candidates = strings if len(strings) == 1 else usual
    if len(candidates) == 1:
        return candidates[0]
    raise TinyError(
        f"{where} does not say which {what} contains the text",
        expected=f"one {what} of strings, or one named {', '.join(TEXT_NAMES[:-1])} or {TEXT_NAMES[-1]}",
        got=f"the {what}s {', '.join(names)}" if names else f"no {what}s",
        remedy=f"Name the {what} (--text-column)",
    )


def require_column(column: str, names: list[str], where: str) -> str:
    """`column` if it is one of `names`; otherwise a TinyError that lists them."""
    if column in names:
        return column
    raise TinyError(
        f"{where} has no column {column!r}",
        got=f"the columns {', '.join(names)}" if names else "no columns",
        remedy="Name one of these (--text-column)",
    )
