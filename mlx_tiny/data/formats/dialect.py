"""The dialect of a table of text: its delimiter, and whether cells are quoted."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from mlx_tiny.data.columns import is_known
from mlx_tiny.data.documents import LARGEST_DOCUMENT_BYTES, cut
from mlx_tiny.data.formats.quotes import needs_quotes
from mlx_tiny.errors import TinyError

DELIMITERS = (",", ";", "\t", "|")
_NAMES = {"\t": "tab"}
_SEPARATOR_LINE = re.compile(r'(?:sep=(.*)|"sep=(.*)")\n?', re.IGNORECASE)
_SEPARATOR = re.compile(r"[^\w\s\"'.]|\t")
_OTHER_DELIMITER = re.compile(r"[^\w\s\"'.,;|]")
_ESCAPED_CELL = re.compile(r'"(?:[^"\\]|\\.)*"')
_NO_DELIMITERS = re.compile(r"://\S*|[?!](?=[^\w\s]{0,3}(?:\s|$))")
"""Addresses, and the ends of sentences."""
_QUOTED_CELL = re.compile(r'\s*"(?:[^"]|"")*"\s*')


@dataclass(frozen=True)
class Dialect:
    """How the lines of a table are cut into cells."""

    delimiter: str
    quoted: bool = True
    """Whether a cell that begins with a quote ends at the next one; else quotes are characters as others."""
    spaced: bool = False
    """Whether white space after a delimiter belongs to it."""
    skipped_lines: int = 0
    """Lines before the header: 1 where the first line is `sep=;`, as spreadsheets write it."""
    escaped: bool = False
    """Whether, of cells without quotes otherwise, those in quotes have a backslash before each quote in them."""
    needs_quotes: bool = False
    """Whether the first lines have cells that are quoted because they have to be."""

    @property
    def delimiter_name(self) -> str:
        """The delimiter alone, for the user."""
        return _NAMES.get(self.delimiter, repr(self.delimiter))

    @property
    def how(self) -> str:
        """The delimiter for the user."""
        return f"delimiter {self.delimiter_name}" + (
            ", quotes after backslashes" if self.escaped else "" if self.quoted else ", no quotes"
        )

    def reader(self, lines: Iterable[str]) -> csv._reader:  # type: ignore[name-defined]
        """Python's reader of such lines. It raises csv.Error for quotes that do not match."""
        csv.field_size_limit(LARGEST_DOCUMENT_BYTES)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
            skipinitialspace=self.spaced,
            strict=True,
        )

    def unescaped(self, row: list[str]) -> list[str]:
        """The row without the quotes around cells and the backslashes before those in them, if it is `escaped`."""
        if not self.escaped:
            return row
        return [cell[1:-1].replace('\\"', '"') if _ESCAPED_CELL.fullmatch(cell) else cell for cell in row]

    def rows(self, lines: list[str], whole: bool) -> list[list[str]] | None:
        """The rows of the first lines of a file without blank ones, or None if the quotes do not match.

        Args:
            lines: the lines after `skipped_lines`.
            whole: whether these are all lines; otherwise the last row may be cut, and is left out.
        """
        rows: list[list[str]] = []
        try:
            rows.extend(row for row in self.reader(lines) if not is_blank(row))
        except csv.Error as error:
            if whole or "unexpected end of data" not in str(error):
                return None
            return rows
        return rows if whole else rows[:-1]


def is_blank(row: list[str]) -> bool:
    """Whether a row is a blank line."""
    return not row or (len(row) == 1 and row[0].isspace())


def find_dialect(lines: list[str], whole: bool, name: str, preferred: str) -> Dialect:
    """The dialect in which all rows have as many cells as the first.

    Args:
        lines: the first lines of the file, at least one.
        whole: whether these are all lines.
        name: the file's name, for errors.
        preferred: the delimiter that the suffix promises; also that of tables with one column.

    Returns:
        The only dialect that fits, or else the one with the most cells in the first row. If none fits, rows of a wrong
        width are an error later.

    Raises:
        TinyError: two dialects fit equally well, or the first line names no delimiter after `sep=`.
    """
    dialect = _fitting_dialect(lines, whole, name, preferred)
    rows = dialect.rows(lines[dialect.skipped_lines :], whole) or [] if dialect.quoted else []
    return replace(dialect, needs_quotes=any(needs_quotes(row, len(rows[0]), dialect.delimiter) for row in rows if row))


def _fitting_dialect(lines: list[str], whole: bool, name: str, preferred: str) -> Dialect:
    named = _SEPARATOR_LINE.fullmatch(lines[0])
    if named:
        return _with_quotes(_named_delimiter(named[1] or named[2] or "", name), lines[1:], whole, skipped_lines=1)
    first = next((line for line in lines if line.strip()), "")
    dialects = [_with_quotes(delimiter, lines, whole) for delimiter in DELIMITERS if delimiter in first]
    widths = {dialect: _width(dialect, lines, whole) for dialect in dialects}
    fitting = {dialect: width for dialect, width in widths.items() if width > 1}
    best = [dialect for dialect, width in fitting.items() if width == max(fitting.values())]
    if len(best) > 1 and preferred != "\t":
        raise TinyError(
            f"{name} does not say what separates its cells",
            expected="one delimiter that gives all rows as many cells as the first",
            got=" and ".join(f"{dialect.how} with {fitting[dialect]} cells" for dialect in best),
            remedy="Write sep= and the delimiter as the first line, such as sep=;",
        )
    if best:
        return next((dialect for dialect in best if dialect.delimiter == preferred), best[0])
    return next((d for d in dialects if d.delimiter == preferred), None) or (
        max(dialects, key=lambda dialect: first.count(dialect.delimiter))
        if dialects
        else _with_quotes(preferred, lines, whole)
    )


def _named_delimiter(written: str, name: str) -> str:
    """The delimiter that stands after `sep=` in the first line."""
    delimiter = "\t" if written in ("\\t", "\t") else written.strip(" ")
    if _SEPARATOR.fullmatch(delimiter):
        return delimiter
    raise TinyError(
        f"The first line of {name} does not name a delimiter",
        expected="one character after sep=, such as sep=; or sep=\\t",
        got=cut(f"sep={written}"),
        remedy="Correct the line, or remove it if it is none of the table",
    )


def require_known_delimiter(dialect: Dialect, lines: list[str], name: str) -> None:
    """Refuse a table that seems to have one column only because its cells are separated by another character.

    Args:
        dialect: what was found.
        lines: the first lines of the file.
        name: the file's name, for the error.
    """
    rows = [line for line in lines[dialect.skipped_lines :] if line.strip()]
    if dialect.skipped_lines or len(rows) < 2 or any(delimiter in rows[0] for delimiter in DELIMITERS):
        return
    bare = [_NO_DELIMITERS.sub("", row) for row in rows]
    for other in dict.fromkeys(_OTHER_DELIMITER.findall(bare[0])):
        if len({row.count(other) for row in bare}) == 1:
            raise TinyError(
                f"{name} seems to have cells that are separated by {other!r}",
                expected="commas, semicolons, tabs or bars",
                got=cut(rows[0]),
                remedy=f"Write sep={other} as the first line, or sep=, if each line is one text; say so if there is no "
                "header (--no-header)",
            )


def _width(dialect: Dialect, lines: list[str], whole: bool) -> int:
    """The cells of every row, or 0 if rows differ."""
    widths = {len(row) for row in dialect.rows(lines, whole) or []}
    return widths.pop() if len(widths) == 1 else 0


def _with_quotes(delimiter: str, lines: list[str], whole: bool, skipped_lines: int = 0) -> Dialect:
    """The dialect of a delimiter that reads the quotes and spaces as they are meant."""
    plain = Dialect(delimiter, True, False, skipped_lines)
    unquoted, spaced = Dialect(delimiter, False, False, skipped_lines), Dialect(delimiter, True, True, skipped_lines)
    if delimiter == "\t":
        rows = unquoted.rows(lines, whole) or []
        begun = [cell for row in rows for cell in row if cell.startswith('"')]
        are_escaped = any('\\"' in cell for cell in begun) and all(map(_ESCAPED_CELL.fullmatch, begun))
        if are_escaped and _width(unquoted, lines, whole):
            return replace(unquoted, escaped=True)
        if rows and _is_quoted_header(rows[0]):
            return plain
        quotes_are_whole = list(_quotes_are_whole(rows))
        if quotes_are_whole and all(quotes_are_whole) and _width(plain, lines, whole):
            return plain
        return plain if _width(plain, lines, whole) and not _width(unquoted, lines, whole) else unquoted
    quoted_rows = plain.rows(lines, whole)
    if quoted_rows is None or not _width(plain, lines, whole):
        return spaced if _width(spaced, lines, whole) else plain
    cells = [cell for row in quoted_rows for cell in row if cell.startswith(" ") and cell.lstrip().startswith('"')]
    return spaced if cells and all(map(_QUOTED_CELL.fullmatch, cells)) else plain


def _is_quoted_header(names: list[str]) -> bool:
    """Whether the first line shows that all cells are quoted; a single cell in quotes may be a text."""
    are_quoted = all(name.startswith('"') and _QUOTED_CELL.fullmatch(name) for name in names)
    return are_quoted and (len(names) > 1 or is_known(names[0].strip(' "\n')))


def _quotes_are_whole(rows: list[list[str]]) -> Iterator[bool]:
    """For each cell that begins with a quote, whether it also ends with one, and those inside are doubled."""
    for row in rows:
        yield from (_QUOTED_CELL.fullmatch(cell) is not None for cell in row if cell.startswith('"'))
