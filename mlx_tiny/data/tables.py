"""Reads tables row by row: comma- or tab-separated text, and Parquet by pyarrow."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from mlx_tiny.data.columns import choose_column, require_column
from mlx_tiny.data.documents import LARGEST_DOCUMENT_BYTES
from mlx_tiny.errors import TinyError

_INSPECTED_ROWS = 100
"""In a table without types, the first rows decide which columns are numbers."""
_BATCH_ROWS = 1024


def read_rows(lines: Iterator[str], path: Path, column: str | None, delimiter: str) -> Iterator[str]:
    """Yield the text column of a table with a header line.

    Args:
        lines: the file's lines with their line ends.
        path: the file, for errors.
        column: name of the column; None finds it.
        delimiter: the character between two cells.

    Raises:
        TinyError: no such column, several candidates, or a malformed row.
    """
    csv.field_size_limit(LARGEST_DOCUMENT_BYTES)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows = _numbered_rows(reader, path)
    names = next(rows, (0, []))[1]
    head = list(itertools.islice(rows, _INSPECTED_ROWS))
    if column is None:
        column = choose_column(_text_columns(names, [row for _, row in head]), names, str(path), "column")
    index = names.index(require_column(column, names, str(path)))
    for number, row in itertools.chain(head, rows):
        if len(row) <= index:
            raise TinyError(
                f"Line {number} of {path} has too few cells",
                expected=f"{len(names)} cells as in the header",
                got=len(row),
                remedy="Correct the line; a text with a delimiter or a line end needs quotes",
            )
        yield row[index]


def _numbered_rows(reader: csv._reader, path: Path) -> Iterator[tuple[int, list[str]]]:  # type: ignore[name-defined]
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise TinyError(
            f"{path} is malformed near line {reader.line_num}: {error}",
            remedy='Correct the quotes: a cell that contains a quote is quoted, and the quote in it is doubled ("")',
        ) from error


def _text_columns(names: list[str], rows: list[list[str]]) -> list[str]:
    return [
        name
        for index, name in enumerate(names)
        if not rows or not all(_is_number(row[index]) for row in rows if index < len(row))
    ]


def _is_number(cell: str) -> bool:
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True


def read_parquet(path: Path, column: str | None) -> Iterator[str]:
    """Yield the text column of a Parquet file; empty cells are skipped.

    Raises:
        TinyError: pyarrow is missing, the file is damaged, or the column is not there.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise TinyError("Parquet files need pyarrow", remedy="Install it (pip install pyarrow)") from error
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            strings = [field.name for field in schema if _is_string(field.type)]
            if column is None:
                column = choose_column(strings, schema.names, str(path), "column")
            if require_column(column, schema.names, str(path)) not in strings:
                raise TinyError(
                    f"The column {column!r} of {path} contains no text",
                    got=str(schema.field(column).type),
                    remedy=f"Name a column of strings (--text-column): {', '.join(strings) or 'there is none'}",
                )
            for batch in file.iter_batches(_BATCH_ROWS, columns=[column]):
                yield from (text for text in batch.column(0).to_pylist() if text is not None)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, UnicodeDecodeError) as error:
        raise TinyError(
            f"{path} is damaged or not a Parquet file: {error}", remedy="Download or write it again"
        ) from error


def _is_string(kind: object) -> bool:
    import pyarrow.types

    if pyarrow.types.is_dictionary(kind):
        kind = kind.value_type  # type: ignore[attr-defined]
    return any(
        check(kind) for check in (pyarrow.types.is_string, pyarrow.types.is_large_string, pyarrow.types.is_string_view)
    )
