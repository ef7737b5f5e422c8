"""Tables of text: rows of cells between delimiters, each row a document."""

from __future__ import annotations

import csv
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from mlx_tiny.data.columns import INSPECTED_ROWS, TEXT, Choice, Column, beginning, choose, is_always_text, is_usual
from mlx_tiny.data.documents import Item, Rules, listed, quoted
from mlx_tiny.data.formats.dialect import Dialect, find_dialect, is_blank
from mlx_tiny.data.formats.reading import FileLook, Reading
from mlx_tiny.data.opening import InputFile, read_chunks, read_lines
from mlx_tiny.errors import TinyError

_NUMBER = "number"
_FEWEST_BASKETS = 10
_LONGEST_NAME = 100
_SENTENCE = re.compile(r"\S+\s.*[.!]")
"""A name that ends so is a text; one that ends in a question mark may be the question of a form."""

Row = tuple[int, list[str]]
"""The number of the row's first line (from 1), and its cells."""


@dataclass(frozen=True)
class _Header:
    """The names of the columns, and the line that they come from."""

    names: list[str]
    line: int | None
    """None in a table without a header."""

    def how(self) -> str:
        """What is taken as the header, for errors."""
        return f"line {self.line} as the header: {listed(self.names)}"

    def remedy(self) -> str:
        """What to do if the line is no header, for errors; the end of a sentence."""
        comment = "remove the line if it is a comment, or " if self.names[0].startswith("#") else ""
        return f"{comment}say that the file has no header (--no-header)"


def read_csv(file: InputFile, rules: Rules) -> Reading:
    """The documents of a table, by default with commas; see `_read_table`."""
    return _read_table(file, rules, ",")


def read_tsv(file: InputFile, rules: Rules) -> Reading:
    """The documents of a table, by default with tabs; see `_read_table`."""
    return _read_table(file, rules, "\t")


def read_table_rows(file: InputFile, rules: Rules, delimiter: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the number of each row's first line and its cells by the names of the columns.

    Raises:
        TinyError: rows have not as many cells as the header, or two columns have one name.
    """
    lines, whole = _first_lines(file)
    if not lines:
        return
    dialect = find_dialect(lines, whole, file.name, delimiter)
    header = _header(file, dialect, rules)
    _require_different(file, header, header.names)
    rows = _rows(file, dialect, _body(file, dialect))
    if rules.header:
        next(rows, None)
    for number, cells in _checked(rows, file, header):
        yield number, dict(zip(header.names, cells, strict=True))


def _read_table(file: InputFile, rules: Rules, delimiter: str) -> Reading:
    """The documents of a table: the cells of one column, or, where none is found, each row as it stands.

    Raises:
        TinyError: rows have not as many cells as the header, the first line is no header, or the column is not found.
    """
    lines, whole = _first_lines(file)
    if not lines:
        return Reading(FileLook("empty"), iter(()))
    dialect = find_dialect(lines, whole, file.name, delimiter)
    kind = f"{file.suffix.removeprefix('.')}, {dialect.how}"
    widths = _widths(dialect, lines, whole)
    if rules.column is None and _are_baskets(widths, dialect, lines, rules):
        how = f"no header and rows of {min(widths)} to {max(widths)} cells: each line is a document"
        items = (line for line in _body(file, dialect) if not line.isspace())
        return Reading(FileLook(f"{kind}, {how}"), items)
    choice = _choice(file, dialect, rules)
    header = "" if rules.header else ", no header"
    return Reading(FileLook(f"{kind}{header}, {choice.how}"), _items(file, dialect, rules, choice))


def _first_lines(file: InputFile) -> tuple[list[str], bool]:
    """The first lines, with their line ends, and whether these are all lines."""
    chunks = read_chunks(file)
    lines = next(chunks, "").split("\n")
    lines = [f"{line}\n" for line in (lines if lines[-1] else lines[:-1])]
    whole = len(lines) <= INSPECTED_ROWS and next(chunks, None) is None
    return lines[:INSPECTED_ROWS], whole


def _widths(dialect: Dialect, lines: list[str], whole: bool) -> list[int]:
    """The cells of each of the first rows; by the delimiters alone where quotes do not match."""
    lines = lines[dialect.skipped_lines :]
    rows = dialect.rows(lines, whole) or replace(dialect, quoted=False).rows(lines, whole) or []
    return [len(row) for row in rows]


def _are_baskets(widths: list[int], dialect: Dialect, lines: list[str], rules: Rules) -> bool:
    """Whether rows are lists of different lengths, such as purchases, below no header."""
    if len(set(widths)) < 2:
        return False
    if not rules.header:
        return True
    first = next(line for line in lines[dialect.skipped_lines :] if line.strip())
    return (
        len(widths) >= _FEWEST_BASKETS
        and widths.count(widths[0]) < len(widths) / 2
        and not any(is_usual(name.strip(' "')) for name in first.strip().split(dialect.delimiter))
    )


def _body(file: InputFile, dialect: Dialect) -> Iterator[str]:
    return itertools.islice(read_lines(file), dialect.skipped_lines, None)


def _choice(file: InputFile, dialect: Dialect, rules: Rules) -> Choice:
    """The column of the text, found from the header and the first rows."""
    rows = _rows(file, dialect, _body(file, dialect))
    header = _header(file, dialect, rules)
    if rules.header:
        next(rows, None)
    head, _ = beginning(_checked(rows, file, header), lambda row: sum(map(len, row[1])))
    columns = [_column(name, [cells[index].strip() for _, cells in head]) for index, name in enumerate(header.names)]
    if rules.header:
        _require_unique(file, header, rules.column)
    if rules.column is None and rules.header:
        _require_header(file, header, columns, [cells for _, cells in head])
    choice = choose(columns, rules.column, file.name, "column", whole_rows=True)
    if choice.kind == "row" and header.line is not None:
        return replace(
            choice, how=f"each row is a document, below a header of {len(header.names)}: {listed(header.names)}"
        )
    return choice


def _require_different(file: InputFile, header: _Header, names: Iterable[str]) -> None:
    """Refuse two columns with one of these names."""
    counts = Counter(name for name in header.names if name)
    repeated = next((name for name in names if counts[name] > 1), None)
    if repeated is not None:
        raise TinyError(
            f"{file.name} has two columns of the name {quoted(repeated)}",
            got=header.how(),
            remedy=f"Rename one of them, or {header.remedy()}",
        )


def _header(file: InputFile, dialect: Dialect, rules: Rules) -> _Header:
    line, cells = next(_rows(file, dialect, _body(file, dialect)), (1, [""]))
    if rules.header:
        return _Header([cell.strip() for cell in cells], line)
    return _Header([str(number) for number in range(1, len(cells) + 1)], None)


def _items(file: InputFile, dialect: Dialect, rules: Rules, choice: Choice) -> Iterator[Item]:
    header = _header(file, dialect, rules)
    lines = _Remembered(_body(file, dialect))
    rows = _rows(file, dialect, lines)
    if rules.header:
        next(rows, None)
        lines.taken.clear()
    indices = [header.names.index(name) for name in choice.names]
    for number, cells in _checked(rows, file, header):
        if choice.kind == "row":
            yield "".join(lines.taken) if any(cells) else ""
        elif choice.kind == "text":
            yield cells[indices[0]]
        else:
            yield choice.item([cells[index] for index in indices], _place(file, number))
        lines.taken.clear()


class _Remembered:
    """An iterator over lines that keeps those it gave in `taken`."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.taken: list[str] = []

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.taken.append(line)
            yield line


def _rows(file: InputFile, dialect: Dialect, lines: Iterator[str] | _Remembered) -> Iterator[Row]:
    """The rows without empty lines, and without white space before the first."""
    reader = dialect.reader(lines)
    start = 1 + dialect.skipped_lines
    started = False
    try:
        for row in reader:
            started = started or not is_blank(row)
            if started and row:
                if dialect.delimiter == "\t" and dialect.quoted:
                    _require_closed_quotes(row, file, start)
                yield start, row
            start = reader.line_num + 1 + dialect.skipped_lines
    except csv.Error as error:
        raise TinyError(
            f"{_place(file, start)} is malformed: {error}",
            remedy='Correct the quotes: a cell that contains a quote is quoted, and the quote in it is doubled ("")',
        ) from error


def _require_closed_quotes(row: list[str], file: InputFile, number: int) -> None:
    """Refuse a cell that seems to contain rows: between tabs, quotes are often not meant as such."""
    if any("\n" in cell and "\t" in cell for cell in row):
        raise TinyError(
            f"{_place(file, number)} has a quote that is closed only in a later row",
            remedy="Remove the quote or double it, or write the table as JSON lines",
        )


def _checked(rows: Iterator[Row], file: InputFile, header: _Header) -> Iterator[Row]:
    """The rows, as long as each has as many cells as the header."""
    width = len(header.names)
    for number, cells in rows:
        if len(cells) != width:
            if is_blank(cells):
                continue
            raise _wrong_width(file, header, number, len(cells))
        yield number, cells


def _wrong_width(file: InputFile, header: _Header, number: int, found: int) -> TinyError:
    if header.line is None:
        return TinyError(
            f"{_place(file, number)} has {_cells(found)}, and the first row has {len(header.names)}",
            remedy="Correct the line; a text that contains the delimiter needs quotes",
        )
    return TinyError(
        f"{_place(file, number)} has {_cells(found)}, and the header has {len(header.names)}",
        got=header.how(),
        remedy="Quote texts that contain the delimiter, or " + header.remedy(),
    )


def _cells(count: int) -> str:
    return f"{count} cell{'s' * (count != 1)}"


def _place(file: InputFile, number: int) -> str:
    return f"Line {number} of {file.name}"


def _column(name: str, cells: list[str]) -> Column:
    filled = [cell for cell in cells if cell]
    is_text = not filled or is_always_text(name) or not all(map(_is_number, filled))
    return Column(name, TEXT if is_text else _NUMBER, len(filled) / max(len(cells), 1))


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _require_unique(file: InputFile, header: _Header, named: str | None) -> None:
    """Refuse two columns of one name, if either could contain the text."""
    relevant = list(filter(is_usual, header.names)) or header.names
    _require_different(file, header, relevant if named is None else [named])


def _require_header(file: InputFile, header: _Header, columns: list[Column], rows: list[list[str]]) -> None:
    """Refuse a first line that looks like a comment or a row, unless it has a usual name."""
    names = header.names
    if any(map(is_usual, names)):
        return
    numbers = [index for index, column in enumerate(columns) if column.kind == _NUMBER]
    texts = [index for index, column in enumerate(columns) if column.kind == TEXT]
    looks_like_a_row = (
        names[0].startswith("#")
        or any(_SENTENCE.fullmatch(name) or len(name) > _LONGEST_NAME for name in names if not name.endswith("?"))
        or (bool(numbers) and all(_is_number(names[index]) for index in numbers))
        or any(names[index] == row[index].strip() for row in rows for index in texts if names[index])
    )
    if looks_like_a_row:
        raise TinyError(
            f"The first line of {file.name} does not look like a header",
            expected="names of the columns",
            got=header.how(),
            remedy=f"Name the column (--text-column), or {header.remedy()}",
        )
