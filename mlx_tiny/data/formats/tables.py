"""Tables of text: rows of cells between delimiters, each row a document."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from mlx_tiny.data.columns import (
    INSPECTED_CHARACTERS,
    INSPECTED_ROWS,
    TEXT,
    Choice,
    Column,
    are_prose,
    beginning,
    choose,
    is_always_text,
    is_usual,
)
from mlx_tiny.data.documents import Item, Rules, listed, quoted
from mlx_tiny.data.formats.dialect import Dialect, find_dialect, is_blank, require_known_delimiter
from mlx_tiny.data.formats.header import (
    Header,
    Row,
    are_baskets,
    is_absent,
    is_number,
    require_header,
    require_no_later_header,
)
from mlx_tiny.data.formats.quotes import needs_quotes, swallows_rows
from mlx_tiny.data.formats.reading import FileLook, Reading
from mlx_tiny.data.opening import InputFile, read_chunks, read_lines
from mlx_tiny.errors import TinyError

_NUMBER = "number"


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
    rows = _rows(file, dialect, _body(file, dialect))
    first = list(itertools.islice(rows, 1))
    header = _header(first, rules, dialect)
    _require_different(file, header, header.names)
    if header.line is None:
        rows = itertools.chain(first, rows)
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
    if rules.column is None and rules.header is not False:
        require_known_delimiter(dialect, lines, file.name)
    kind = f"{file.suffix.removeprefix('.')}, {dialect.how}"
    head, _ = beginning(_rows(file, dialect, _body(file, dialect)), lambda row: sum(map(len, row[1])))
    if rules.column is None and _are_ragged(head, lines, rules):
        widths = [len(cells) for _, cells in head if cells]
        how = f"no header and rows of {min(widths)} to {max(widths)} cells: each row is a document"
        return Reading(FileLook(f"{kind}, {how}"), _whole_rows(file, dialect, lines), "\n")
    choice = _choice(file, dialect, head, rules)
    table = None if rules.header is False else (tuple(_header(head, rules, dialect).names), choice)
    header = ", no header" if rules.header is False else ""
    outer = "\n" if choice.kind == "row" else None
    look, items = FileLook(f"{kind}{header}, {choice.how}"), _items(file, dialect, rules, choice)
    return Reading(look, items, outer, table)


def _first_lines(file: InputFile) -> tuple[list[str], bool]:
    """The first lines, with their line ends, and whether these are all lines."""
    chunks = read_chunks(file)
    lines, characters = list[str](), 0
    for chunk in chunks:
        lines += chunk.removesuffix("\n").split("\n")
        characters += len(chunk)
        if len(lines) >= INSPECTED_ROWS or characters >= INSPECTED_CHARACTERS:
            break
    whole = len(lines) <= INSPECTED_ROWS and next(chunks, None) is None
    return [f"{line}\n" for line in lines[:INSPECTED_ROWS]], whole


def _are_ragged(head: list[Row], lines: list[str], rules: Rules) -> bool:
    """Whether rows are lists of different lengths, such as purchases, below no header."""
    rows = [row for row in head if not is_blank(row[1])]
    if len({len(cells) for _, cells in rows}) < 2:
        return False
    return rules.header is False or (rules.header is None and are_baskets(rows[0][1], rows[1:], lines))


def _whole_rows(file: InputFile, dialect: Dialect, lines: list[str]) -> Iterator[str]:
    """Each row as it stands; each line, if the first `lines` have no quotes."""
    if not any('"' in line for line in lines):
        yield from (line for line in _body(file, dialect) if not line.isspace())
        return
    remembered = _Remembered(_body(file, dialect))
    for _, cells in _rows(file, dialect, remembered):
        yield "".join(remembered.taken) if any(map(str.strip, cells)) else ""
        remembered.taken.clear()


def _body(file: InputFile, dialect: Dialect) -> Iterator[str]:
    return itertools.islice(read_lines(file), dialect.skipped_lines, None)


def _choice(file: InputFile, dialect: Dialect, head: list[Row], rules: Rules) -> Choice:
    """The column of the text, found from the header and the first rows."""
    header = _header(head, rules, dialect)
    rows = head if header.line is None else head[1:]
    known = None if rules.column is not None or header.line is None else rules.tables.get(tuple(header.names))
    if known is not None:
        _require_nothing_dropped(file, header, _watched(header, known), list(_checked(iter(rows), file, header)))
        return known
    is_found = rules.column is None and rules.header is None
    if is_found:
        require_no_later_header(file.name, header, rows)
    rows = list(_checked(iter(rows), file, header))
    if header.line is not None:
        _require_unique(file, header, rules.column)
    if is_found and any(any(map(str.strip, cells)) for _, cells in head):
        require_header(file.name, header, rows)
    columns = [
        _column(
            name, [cells[index].strip() for _, cells in rows], is_text=name == rules.column or len(header.names) == 1
        )
        for index, name in enumerate(header.names)
    ]
    choice = choose(columns, rules.column, file.name, "column", whole_rows=True)
    if choice.kind == "row" and header.line is not None:
        names = f"a header of {len(header.names)}: {listed(header.names)}"
        others = "--text-column takes one of them, and --schema makes rows histories: see `mlx-tiny data describe`"
        return replace(choice, how=f"each row is a document, below {names} ({others})")
    _require_nothing_dropped(file, header, _watched(header, choice), rows)
    return choice


def _require_different(file: InputFile, header: Header, names: Iterable[str]) -> None:
    """Refuse two columns with one of these names."""
    counts = Counter(name for name in header.names if name)
    repeated = next((name for name in names if counts[name] > 1), None)
    if repeated is not None:
        raise TinyError(
            f"{file.name} has two columns of the name {quoted(repeated)}",
            got=header.how(),
            remedy=f"Rename one of them, or {header.remedy()}",
        )


def _header(head: list[Row], rules: Rules, dialect: Dialect) -> Header:
    line, cells = head[0] if head else (1, [""])
    if rules.header is not False:
        return Header([cell.strip() for cell in cells], line, dialect.delimiter_name)
    return Header([str(number) for number in range(1, len(cells) + 1)], None, dialect.delimiter_name)


def _items(file: InputFile, dialect: Dialect, rules: Rules, choice: Choice) -> Iterator[Item]:
    lines = _Remembered(_body(file, dialect))
    rows = _rows(file, dialect, lines if choice.kind == "row" else _body(file, dialect))
    first = list(itertools.islice(rows, 1))
    header = _header(first, rules, dialect)
    if header.line is None:
        rows = itertools.chain(first, rows)
    else:
        lines.taken.clear()
    indices = [header.names.index(name) for name in choice.names]
    watched = _watched(header, choice)
    for number, cells in _checked(rows, file, header):
        if watched:
            _require_nothing_dropped(file, header, watched, [(number, cells)])
        if choice.kind == "row":
            yield "".join(lines.taken) if any(map(str.strip, cells)) else ""
        elif choice.kind == "text":
            yield cells[indices[0]]
        else:
            yield choice.item([cells[index] for index in indices], _place(file, number))
        lines.taken.clear()


def _watched(header: Header, choice: Choice) -> list[int]:
    """The columns in which text would be dropped unseen: those without a name, and all beside the only one of texts."""
    if choice.kind == "row":
        return []
    names = enumerate(header.names)
    return [index for index, name in names if name not in choice.names and (choice.only or not name)]


def _require_nothing_dropped(file: InputFile, header: Header, watched: list[int], rows: list[Row]) -> None:
    """Refuse text in the columns `watched`: only numbers may stand there, and without a name only in the first."""
    for number, cells in rows:
        for index in watched:
            cell, name = cells[index].strip(), header.names[index]
            if cell and not ((name or index == 0) and (is_number(cell) or is_absent(cell))):
                place = f"the column {quoted(name)}" if name else f"column {index + 1}, which is without a name"
                remedy = "name the column of the text (--text-column)" if name else "name the column"
                raise TinyError(
                    f"{_place(file, number)} has text in {place}; it would be dropped",
                    got=quoted(cell) + (f", with {header.how()}" if header.line else ""),
                    remedy=f"Quote texts that contain the delimiter, {remedy}"
                    + (f", or {header.remedy()}" if header.line else ""),
                )


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
    """The rows, without white space before the first; a blank line is a row of one or no cell."""
    reader = dialect.reader(lines)
    start, width = 1 + dialect.skipped_lines, 0
    needs_quotes_somewhere = dialect.needs_quotes
    try:
        for row in reader:
            following = reader.line_num + 1 + dialect.skipped_lines
            if width or not is_blank(row):
                width = width or len(row)
                if not needs_quotes_somewhere:
                    if following > start + 1 and swallows_rows(row, width, dialect.delimiter):
                        raise TinyError(
                            f"{_place(file, start)} has a quote that is closed only in a later row",
                            remedy="Remove the quote or double it, or write the table as JSON lines",
                        )
                    needs_quotes_somewhere = dialect.quoted and needs_quotes(row, width, dialect.delimiter)
                yield start, dialect.unescaped(row)
            start = following
    except csv.Error as error:
        raise TinyError(
            f"{_place(file, start)} is malformed: {error}",
            remedy='Correct the quotes: a cell that contains a quote is quoted, and the quote in it is doubled ("")',
        ) from error


def _checked(rows: Iterator[Row], file: InputFile, header: Header) -> Iterator[Row]:
    """The rows, as long as each has as many cells as the header. A blank line is a row of a table with one column.

    A row that is equal to the header is an error: tables were joined with theirs.
    """
    width = len(header.names)
    # In one column, or below empty names, a text may be equal to the header by chance; an index has no name.
    is_repeatable = header.line is not None and width > 1 and all(header.names[1:])
    for number, cells in rows:
        if len(cells) != width:
            if is_blank(cells):
                if width == 1:
                    yield number, [""]
                continue
            raise _wrong_width(file, header, number, len(cells))
        if is_repeatable and cells[0].strip() == header.names[0] and header.names == [cell.strip() for cell in cells]:
            raise TinyError(
                f"{_place(file, number)} repeats the header",
                got=header.how(),
                remedy="Remove the line: headers of several tables may have been joined with them",
            )
        yield number, cells


def _wrong_width(file: InputFile, header: Header, number: int, found: int) -> TinyError:
    if header.line is None:
        return TinyError(
            f"{_place(file, number)} has {_cells(found)}, and the first row has {len(header.names)}",
            remedy="Correct the line; a text that contains the delimiter needs quotes",
        )
    return TinyError(
        f"{_place(file, number)} has {_cells(found)}, and the header has {len(header.names)}",
        got=f"{header.how()}, and the delimiter {header.delimiter}",
        remedy="Quote texts that contain the delimiter, name another one in a line above the header, such as sep=;, or "
        + header.remedy(),
    )


def _cells(count: int) -> str:
    return f"{count} cell{'s' * (count != 1)}"


def _place(file: InputFile, number: int) -> str:
    return f"Line {number} of {file.name}"


def _column(name: str, cells: list[str], is_text: bool) -> Column:
    filled = [cell for cell in cells if cell]
    is_text = is_text or not filled or is_always_text(name) or not all(map(is_number, filled))
    share = len(filled) / max(len(cells), 1)
    return Column(name, TEXT if is_text else _NUMBER, share, is_prose=not is_text or are_prose(filled))


def _require_unique(file: InputFile, header: Header, named: str | None) -> None:
    """Refuse two columns of one name, if either could contain the text."""
    relevant = list(filter(is_usual, header.names)) or header.names
    _require_different(file, header, relevant if named is None else [named])
