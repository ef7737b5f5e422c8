"""The quotes of a table: whether they are meant as such, or one is closed only in a later row."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_tiny.data.formats.header import is_number

_FEWEST_LINES = 3
"""So many lines of a cell have to look like rows if no numbers show it; two may do so by chance, as in an address."""


def needs_quotes(row: Sequence[str], width: int, delimiter: str) -> bool:
    """Whether a row that was read with quotes shows that these are meant as such.

    A cell contains the delimiter, begins with a quote, or has several lines that are no rows.

    Args:
        row: the cells.
        width: the cells of the header.
        delimiter: what separates them.
    """
    several = any("\n" in cell for cell in row)
    if several and swallows_rows(row, width, delimiter):
        return False
    return several or any(delimiter in cell or cell.startswith('"') for cell in row)


def swallows_rows(row: Sequence[str], width: int, delimiter: str) -> bool:
    """Whether the lines of a row seem to be rows: as wide as the header, with numbers where the row has them.

    In a row without numbers, a space after a delimiter shows that it belongs to a sentence. Between tabs, any cell of
    several lines with a tab is suspicious, as quotes are often not meant as such.

    Args:
        row: the cells, of which one or more have several lines.
        width: the cells of the header.
        delimiter: what separates them.
    """
    if delimiter == "\t":
        return any("\n" in cell and "\t" in cell for cell in row)
    lines = [line.split(delimiter) for line in delimiter.join(row).split("\n")]
    if width == 1 or len(row) != width or any(len(cells) != width for cells in lines):
        return False
    numbers = [index for index, cell in enumerate(row) if is_number(cell)]
    if numbers:
        return all(is_number(cells[index]) for cells in lines for index in numbers)
    return len(lines) >= _FEWEST_LINES and not any(cell.startswith(" ") for cells in lines for cell in cells[1:])
