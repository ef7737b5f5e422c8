"""Rows of a table with all their columns, for histories of events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from mlx_tiny.data.documents import Rules
from mlx_tiny.data.formats.jsons import read_objects
from mlx_tiny.data.formats.parquet import read_parquet_rows
from mlx_tiny.data.formats.tables import read_table_rows
from mlx_tiny.data.opening import InputFile
from mlx_tiny.errors import TinyError

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")
"""Suffixes of files that have columns."""


def read_records(
    file: InputFile, rules: Rules, needed: Collection[str] | None = None
) -> Iterator[tuple[int, Mapping[str, object]]]:
    """Yield the number of each row (its first line, from 1) and its values by the names of the columns.

    Args:
        file: a table, packed or not.
        rules: of these, whether the first line is a header; without one the names are the numbers from 1.
        needed: the columns whose values are needed, by default all; the values of the others may be None.

    Raises:
        TinyError: the file is no table, or is malformed.
    """
    if file.suffix == ".parquet":
        yield from read_parquet_rows(file, needed)
    elif file.suffix in (".jsonl", ".ndjson", ".json"):
        yield from read_objects(file)
    elif file.suffix in (".csv", ".tsv"):
        yield from read_table_rows(file, rules, "," if file.suffix == ".csv" else "\t")
    else:
        raise TinyError(
            f"{file.name} is not known to be a table", expected=", ".join(TABLES), got=file.suffix or "no suffix"
        )
