"""Parquet files, read by pyarrow in batches of bounded size, in a process of its own: a damaged file may end it."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from mlx_tiny.data.columns import INSPECTED_ROWS, LIST, TEXT, Choice, Column, are_prose, choose, is_usual, not_utf8
from mlx_tiny.data.documents import Item, Rules, cut
from mlx_tiny.data.formats.reading import FileLook, Reading
from mlx_tiny.data.opening import InputFile
from mlx_tiny.errors import TinyError
from mlx_tiny.tools.isolated import ProcessEnded, isolated

_BATCH_BYTES = 1 << 22
_MOST_BATCH_ROWS = 64
"""Few, because rows differ in size, and a text that occurs often is stored only once."""
_BUFFER_BYTES = 1 << 16
"""Without a buffer, or with `pre_buffer`, pyarrow keeps a row group's bytes in memory, often all of the file."""
_INDEX = re.compile(r"__index_level_\d+__")
"""The name that pandas gives to an index without one."""


def read_parquet(file: InputFile, rules: Rules) -> Reading:
    """The documents of a Parquet file, one per row.

    Raises:
        TinyError: pyarrow is missing, the file is damaged, or it does not say which column contains the text.
    """
    found = _apart(file, _texts, rules)
    return Reading(next(found), itertools.chain.from_iterable(found))


def read_parquet_rows(file: InputFile, needed: Collection[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of each row, from 1, and its values by the names of the columns.

    Args:
        needed: the columns that are read, by default all; the values of the others are None.

    Raises:
        TinyError: pyarrow is missing, the file is damaged, two columns have one name, or Python does not have a value.
    """
    yield from enumerate(itertools.chain.from_iterable(_apart(file, _rows, needed)), 1)


def _apart(file: InputFile, function: Callable[..., Iterator[Any]], *arguments: Any) -> Iterator[Any]:
    """The values of a generator function of this module, which reads the file in another process.

    Raises:
        TinyError: as the function, or its process has ended.
    """
    try:
        yield from isolated(__name__, function.__name__, file, *arguments)
    except ProcessEnded as error:
        raise TinyError(
            f"{file.name} is damaged, or needs more memory than there is: the process that reads it stopped ({error})",
            remedy="Download or write it again",
        ) from error


def _texts(file: InputFile, rules: Rules) -> Iterator[FileLook | list[Item]]:
    """First how the file is read, then the documents of each batch."""
    batches = _batches(file, rules)
    choice, rows = next(batches)
    assert isinstance(choice, Choice)
    yield FileLook(f"parquet, {choice.how}, {rows} rows")
    yield from _items(file, choice, batches)


def _rows(file: InputFile, needed: Collection[str] | None) -> Iterator[list[dict[str, Any]]]:
    """The rows of each batch."""
    with file.open_seekable() as stream, _explained(file):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(stream, buffer_size=_BUFFER_BYTES, pre_buffer=False) as opened:
            names, first = opened.schema_arrow.names, 1
            _require_once(names, _repeated(names), file.name)
            read = [name for name in names if needed is None or name in needed]
            for batch in opened.iter_batches(_most_rows(opened.metadata), columns=read):
                columns = dict(zip(read, _values(batch, read, first, file.name), strict=True))
                row = dict.fromkeys(names)
                yield [row | {name: columns[name][index] for name in read} for index in range(batch.num_rows)]
                first += batch.num_rows


def _repeated(names: Sequence[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _require_once(names: Iterable[str], repeated: set[str], where: str) -> None:
    """Raise a TinyError when one of the names is that of several columns."""
    twice = next((name for name in names if name in repeated), None)
    if twice is not None:
        raise TinyError(f"{where} has two columns of the name {twice!r}", remedy="Rename or remove one of them")


def _most_rows(metadata: Any) -> int:
    """Rows per batch."""
    size: int = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    rows: int = metadata.num_rows
    return min(max(_BATCH_BYTES * rows // max(size, 1), 1), _MOST_BATCH_ROWS)


def _items(file: InputFile, choice: Choice, batches: Iterator[Any]) -> Iterator[list[Item]]:
    first, where = 1, file.name
    for batch in batches:
        rows = enumerate(zip(*_values(batch, choice.names, first, where), strict=True), first)
        yield [choice.item(cells, f"Row {number} of {where}") for number, cells in rows]
        first += batch.num_rows


def _values(batch: Any, names: Sequence[str], first: int, where: str) -> list[list[Any]]:
    """The values of some columns; the batch begins with the row `first`.

    Raises:
        TinyError: strings that are not UTF-8, or values that Python does not have; the error names the row.
    """
    from pyarrow import ArrowException

    columns = []
    for name in names:
        try:
            columns.append(batch.column(name).to_pylist())
        except (ArrowException, ValueError, OverflowError) as error:
            raise _unreadable(batch.column(name), name, first, where, error) from error
    return columns


def _unreadable(column: Any, name: str, first: int, where: str, error: Exception) -> TinyError:
    from pyarrow import ArrowException

    for row, value in enumerate(column, first):
        try:
            value.as_py()
        except Exception as found:
            where, error = f"Row {row} of {where}", found
            break
    if isinstance(error, UnicodeDecodeError):
        return not_utf8(where, name)
    zone = getattr(column.type, "tz", None)
    if zone and isinstance(error, ArrowException):
        error = LookupError(f"the time zone {zone!r} is not known on this machine")
    why = f"a {cut(str(column.type))}: {cut(str(error)).rstrip('.')}"
    return TinyError(
        f"{where} has a value of {name!r} that cannot be read ({why})",
        remedy="Remove the column, or write it as text",
    )


def _batches(file: InputFile, rules: Rules) -> Iterator[Any]:
    """First the choice of the column with the number of rows, then the batches of its columns."""
    with file.open_seekable() as stream, _explained(file):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(stream, buffer_size=_BUFFER_BYTES, pre_buffer=False) as opened:
            metadata, schema = opened.metadata, opened.schema_arrow
            repeated = _repeated(schema.names)
            filled = _filled(metadata, {name for name in schema.names if name not in repeated})
            columns = [
                Column(field.name, _kind(field.type), filled.get(field.name, 1.0), _is_nested(field.type))
                for field in schema
            ]
            index = _index(schema)
            columns = [
                column
                for column in columns
                if column.name not in index or column.name == rules.column or is_usual(column.name)
            ]
            rows = _most_rows(metadata)
            texts = [column.name for column in columns if column.kind == TEXT]
            if rules.column is None and len(texts) == 1 and texts[0] not in repeated and not is_usual(texts[0]):
                is_prose = _is_prose(opened, texts[0], rows)
                columns = [replace(column, is_prose=is_prose or column.name != texts[0]) for column in columns]
            choice = choose(columns, rules.column, file.name, "column")
            _require_once(choice.names, repeated, file.name)
            yield choice, metadata.num_rows
            # Each row group alone and without threads: otherwise the memory grows with the file.
            for group in range(metadata.num_row_groups):
                yield from opened.iter_batches(rows, row_groups=[group], columns=list(choice.names), use_threads=False)


def _is_prose(opened: Any, name: str, rows: int) -> bool:
    """Whether the first of at most `rows` texts of a column may be documents. Bytes that are no text are met later."""
    batch = next(opened.iter_batches(min(rows, INSPECTED_ROWS), columns=[name], use_threads=False), None)
    try:
        values = batch.column(0).to_pylist() if batch is not None else []
        return are_prose(value.decode() if isinstance(value, bytes) else value for value in values if value is not None)
    except UnicodeDecodeError:
        return True


def _index(schema: Any) -> set[str]:
    """The columns that pandas wrote as the index of the rows; they are not taken for texts."""
    try:
        names = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))["index_columns"]
    except (ValueError, RecursionError, KeyError, TypeError):
        names = []
    written = {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()
    return written.union(name for name in schema.names if _INDEX.fullmatch(name))


def _filled(metadata: Any, names: set[str]) -> dict[str, float]:
    """The share of rows that are not null, of the columns for which the file says so."""
    nulls: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for index in range(metadata.num_columns):
            column = metadata.row_group(group).column(index)
            statistics = column.statistics
            if column.path_in_schema in names and statistics is not None and statistics.has_null_count:
                nulls[column.path_in_schema] = nulls.get(column.path_in_schema, 0) + statistics.null_count
    return {name: 1 - count / max(metadata.num_rows, 1) for name, count in nulls.items()}


def _kind(kind: Any) -> str:
    """`TEXT`, `LIST`, or the type's name."""
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    strings = (types.is_string, types.is_large_string, types.is_string_view)
    binaries = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    if any(is_kind(value) for is_kind in (*strings, *binaries)):
        return TEXT
    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    is_list = any(is_kind(kind) for is_kind in lists)
    return LIST if is_list and types.is_struct(kind.value_type) else cut(str(kind))


def _is_nested(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_nested(kind))


@contextlib.contextmanager
def _explained(file: InputFile) -> Iterator[None]:
    """Turn pyarrow's errors into a TinyError."""
    try:
        import pyarrow
    except ImportError as error:
        raise TinyError("Parquet files need pyarrow", remedy="Install it (pip install pyarrow)") from error
    try:
        yield
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise TinyError(
            f"{file.name} is damaged or not a Parquet file: {cut(str(error))}", remedy="Download or write it again"
        ) from error
