"""The header of a table: whether its first line names the columns, or is a row already."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mlx_tiny.data.columns import DIGIT, MEASURED, chat_form, is_known
from mlx_tiny.data.documents import listed, quoted
from mlx_tiny.errors import TinyError

_LONGEST_NAME = 100
_YEAR = re.compile(r"(?:1[5-9]|20|21)\d\d")
_SENTENCE = re.compile(r"\S+(?:\s+\S+){3,}[.!]")
"""A name of four words or more that ends so is a text; a shorter one may be an abbreviation, and one that ends in a
question mark the question of a form."""
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_ABSENT = ("na", "n/a", "null", "none", "nan", "-", "?")
_FEWEST_NUMBERS, _FEWEST_CODES, _FEWEST_TEXTS = 2, 3, 20
"""From so many cells on, a column of numbers, of words with digits, or of texts shows that the name above is one."""
_FEWEST_BASKETS = 10
_LAST_HEADER_LINE = 5

Row = tuple[int, list[str]]
"""The number of the row's first line (from 1), and its cells."""


@dataclass(frozen=True)
class Header:
    """The names of the columns, and the line that they come from."""

    names: list[str]
    line: int | None
    """None in a table without a header."""
    delimiter: str = ""
    """What separates the cells, as errors name it."""

    def how(self) -> str:
        """What is taken as the header, for errors."""
        return f"line {self.line} as the header: {listed(self.names)}"

    def remedy(self) -> str:
        """What to do if the line is no header, for errors; the end of a sentence."""
        comment = "remove the line if it is a comment, or " if self.names[0].startswith("#") else ""
        return f"{comment}say that the file has no header (--no-header)"


def evidence(names: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The reasons to take the first line as a header; none if it may be a row like the others.

    Args:
        names: the cells of the first line.
        rows: the first rows below it.
    """
    usual = [f"the usual name {quoted(name)}" for name in names if is_known(name)]
    if usual:
        return usual
    if chat_form(names) is not None:
        return ["the names of a chat"]
    columns = _columns(names, rows)
    # An index has no name, and comes first.
    named = [(n, cells) for i, (n, cells) in enumerate(zip(names, columns, strict=True)) if n or i == 0]
    measured = [(name, cells) for name, cells in named if cells and not _is_measured(name) and _are_measured(cells)]
    if sum(len(cells) for _, cells in measured) >= _FEWEST_NUMBERS:
        return [f"numbers or dates below {quoted(name)}" for name, _ in measured]
    if _are_years(names, columns):
        return ["years above numbers"]
    reasons = []
    for name, cells in named:
        kind = _kind(cells, is_only=len(names) == 1) if name not in cells and not DIGIT.search(name) else None
        if kind is not None:
            reasons.append(f"{kind} below {quoted(name)}")
    return reasons


def _is_measured(cell: str) -> bool:
    return MEASURED.fullmatch(cell) is not None or is_number(cell)


def _are_measured(cells: Sequence[str]) -> bool:
    return all(map(MEASURED.fullmatch, cells)) or all(map(is_number, cells))


def _are_years(names: Sequence[str], columns: Sequence[Sequence[str]]) -> bool:
    """Whether years that follow each other stand above numbers of which some are no years, beside another column."""
    numbers = [
        (name, cells) for name, cells in zip(names, columns, strict=True) if cells and all(map(is_number, cells))
    ]
    if not 2 <= len(numbers) < len(names) or not all(_YEAR.fullmatch(name) for name, _ in numbers):
        return False
    steps = {abs(int(after) - int(before)) for (before, _), (after, _) in itertools.pairwise(numbers)}
    return steps == {1} and not all(_YEAR.fullmatch(cell) for _, cells in numbers for cell in cells)


def _kind(cells: list[str], is_only: bool) -> str | None:
    """What all cells of a column of texts are, if there are enough of them to tell a name without digits from them."""
    if len(cells) < _FEWEST_CODES:
        return None
    if all(map(DIGIT.search, cells)):
        are_words = not any(" " in cell for cell in cells)
        return "codes" if len(cells) >= (_FEWEST_CODES if are_words else _FEWEST_TEXTS) else None
    recur = not is_only and len(cells) >= _FEWEST_TEXTS and min(Counter(cells).values()) > 1
    return "categories" if recur else None


def doubts(names: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The reasons to take the first line as a comment or a row."""
    if any(map(is_known, names)):
        return []
    columns = _columns(names, rows)
    fits = any(len(cells) == len(names) for _, cells in rows)
    reasons = ["it begins with #"] if names[0].startswith("#") and not fits else []
    for name in names:
        if not name.endswith("?") and (_SENTENCE.fullmatch(name) or len(name) > _LONGEST_NAME):
            reasons.append(f"the text {quoted(name)}")
    numbers = []
    for index, cells in enumerate(columns):
        if cells and all(map(is_number, cells)):
            numbers.append(names[index])
        elif names[index] and names[index] in cells:
            reasons.append(f"{quoted(names[index])} occurs again in its column")
    if numbers and all(map(is_number, numbers)) and not _are_years(names, columns):
        reasons.append("numbers above numbers")
    return reasons


def _columns(names: Sequence[str], rows: Sequence[Row]) -> list[list[str]]:
    """The cells of each column that say something, from the rows that are as wide as the header."""
    fitting = [cells for _, cells in rows if len(cells) == len(names)]
    columns = [[row[index].strip() for row in fitting] for index in range(len(names))]
    return [[cell for cell in cells if cell and not is_absent(cell)] for cells in columns]


def is_number(cell: str) -> bool:
    """Whether a cell is a number, perhaps with a decimal comma."""
    try:
        float(cell)
    except ValueError:
        return _DECIMAL_COMMA.fullmatch(cell) is not None
    return True


def is_absent(cell: str) -> bool:
    """Whether a cell says that there is no value, such as NA."""
    return cell.lower() in _ABSENT


def require_no_later_header(where: str, header: Header, rows: Sequence[Row]) -> None:
    """Refuse a table in which a line soon after the first seems to be the header.

    Args:
        where: the file's name.
        header: the first line.
        rows: the first rows below it.
    """
    later = next((row for row in rows[: _LAST_HEADER_LINE - 1] if _are_names(row[1])), None)
    if later is not None and not evidence(header.names, rows):
        raise TinyError(
            f"Line {later[0]} of {where} seems to be the header ({listed(later[1])}), and it is not the first",
            got=header.how(),
            remedy=f"Remove what stands above the header, or {header.remedy()}",
        )


def _are_names(cells: Sequence[str]) -> bool:
    return any(map(is_known, cells)) and not any(map(DIGIT.search, cells)) and len(set(cells)) == len(cells)


def require_header(where: str, header: Header, rows: Sequence[Row]) -> None:
    """Refuse a first line that may be a comment or a row: it would be dropped; see `evidence` and `doubts`."""
    against = doubts(header.names, rows)
    if not against and evidence(header.names, rows):
        return
    raise TinyError(
        f"The first line of {where} would be the header, and does not look like one",
        expected="names of the columns, such as text, or names that are no numbers above numbers",
        got=header.how() + (f" ({against[0]})" if against else ""),
        remedy=f"If it is one, say so (--header), or name the column of the text (--text-column); or {header.remedy()}",
    )


def are_baskets(first: Sequence[str], rows: Sequence[Row], lines: Sequence[str]) -> bool:
    """Whether rows are lists of different lengths, such as purchases, below no header.

    Items recur in other rows; the names of a header, and the pieces of a text with delimiters in it, do not.

    Args:
        first: the cells of the first line.
        rows: the first rows below it.
        lines: the lines of these rows.
    """
    widths = Counter([len(first), *(len(cells) for _, cells in rows)])
    if widths.total() < _FEWEST_BASKETS or max(widths.values()) >= widths.total() / 2:
        return False
    if any(map(is_known, first)) or any('"' in line for line in lines):
        return False
    items = {cell.strip() for _, cells in rows for cell in cells}
    return sum(cell.strip() in items for cell in first) > len(first) / 2
