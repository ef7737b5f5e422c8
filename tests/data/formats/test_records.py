"""Rows with all their columns are the same in every format."""

from __future__ import annotations

import datetime
import gzip
import json
from pathlib import Path

import pytest

from mlx_tiny.data.documents import Rules
from mlx_tiny.data.events.cells import value_text
from mlx_tiny.data.formats.records import read_records
from mlx_tiny.data.opening import InputFile
from mlx_tiny.errors import TinyError

ROWS: list[dict[str, object]] = [
    {"id": 7, "name": "One, two", "price": 2.5, "day": datetime.date(2010, 12, 1)},
    {"id": 8, "name": None, "price": 3.0, "day": datetime.date(2010, 12, 2)},
]
TEXTS = [["7", "One, two", "2.5", "2010-12-01"], ["8", "", "3", "2010-12-02"]]


def write(folder: Path, suffix: str) -> Path:
    path = folder / f"table{suffix}"
    lines = [json.dumps(row, default=str) for row in ROWS]
    texts = {
        ".csv": 'id,name,price,day\n7,"One, two",2.5,2010-12-01\n\n8,,3,2010-12-02\n',
        ".tsv": "id\tname\tprice\tday\n7\tOne, two\t2.5\t2010-12-01\n8\t\t3\t2010-12-02\n",
        ".semicolon.csv": "id;name;price;day\n7;One, two;2.5;2010-12-01\n8;;3;2010-12-02\n",
        ".jsonl": "\n".join(lines),
        ".json": f"[{', '.join(lines)}]",
    }
    if suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif suffix == ".csv.gz":
        path.write_bytes(gzip.compress(texts[".csv"].encode()))
    else:
        path.write_text(texts[suffix])
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".semicolon.csv", ".csv.gz", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    rows = list(read_records(InputFile(write(tmp_path, suffix)), Rules()))
    assert [[value_text(row[name]) for name in ROWS[0]] for _, row in rows] == TEXTS
    assert {".csv": [2, 4], ".tsv": [2, 3], ".jsonl": [1, 2], ".parquet": [1, 2]}.get(suffix) in (
        None,
        [number for number, _ in rows],
    )


def test_without_a_header_columns_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("7,One\n8,Two\n")
    rows = read_records(InputFile(tmp_path / "table.csv"), Rules(header=False))
    assert list(rows) == [(1, {"1": "7", "2": "One"}), (2, {"1": "8", "2": "Two"})]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("table.csv", "a,b\n1,2\n3\n", "Line 3"),
        ("table.csv", "a,b,a\n1,2,3\n", "two columns"),
        ("table.csv", 'a,b\n1,"2\n', "Line 2"),
        ("table.jsonl", '{"a": 1}\n[2]\n', "Line 2"),
        ("table.txt", "a\n", "table"),
    ],
)
def test_what_is_no_table_is_refused(name: str, text: str, found: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TinyError, match=found):
        list(read_records(InputFile(tmp_path / name), Rules()))


def test_an_empty_table_has_no_rows(tmp_path: Path) -> None:
    for name in ("table.csv", "table.jsonl"):
        (tmp_path / name).write_text("")
        assert not list(read_records(InputFile(tmp_path / name), Rules()))
