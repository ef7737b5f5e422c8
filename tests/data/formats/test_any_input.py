"""Whatever a file contains, its documents are read without loss, or an error says why not."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import how, read, write

from mlx_tiny.data.documents import Tally, clean
from mlx_tiny.errors import TinyError

FEW = settings(max_examples=25, deadline=None)
SPECIAL = st.sampled_from(
    [*",;|\t\"'#=\\ \n\r[]{}:.0-", "\r\n", '""', "<|endoftext|>", "<|user|>", "null", "\u2028", "\x85"]
)
PLAIN = st.characters(codec="utf-8", exclude_characters="\0")
TEXT = st.lists(st.one_of(SPECIAL, PLAIN), max_size=12).map("".join)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=6,
)
CELLS = ("a", "b", "1", "2020-01-01", '"x"', '"x, y"', '"a\nb"', '"', "x y", "text", "A1", "Hi.")
KEYS = st.sampled_from(["text", "story", "messages", "prompt", "completion", "n"])
SUFFIXES = [".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet"]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


def read_or_refuse(path: Path, **rules: Any) -> tuple[list[str], Tally] | None:
    """The documents; None if a TinyError of moderate length explains why not."""
    tally = Tally()
    try:
        texts = read(path, tally, **rules)
    except TinyError as error:
        refusal = str(error)
    else:
        refusal = ""
    assert len(refusal) < 2000
    if refusal:
        return None
    outer = "\n" if {".csv", ".tsv"}.intersection(path.suffixes) else None  # whole rows keep their empty cells
    assert tally.documents == len(texts) and all(text.strip() and text == text.strip(outer) for text in texts)
    return texts, tally


@FEW
@given(
    cells=st.lists(TEXT.map(lambda text: text.replace("\r", "\n")), min_size=1, max_size=6),
    delimiter=st.sampled_from(",;|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig"]),
    named=st.booleans(),
    id_first=st.booleans(),
)
def test_tables_that_python_writes(
    folder: Path,
    cells: list[str],
    delimiter: str,
    quoting: Any,
    line_end: str,
    encoding: str,
    named: bool,
    id_first: bool,
) -> None:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting)
    rows = [("id", "text"), *enumerate(cells)]
    writer.writerows(row if id_first else row[::-1] for row in rows)
    content = (f"sep={delimiter}\n" if named else "") + file.getvalue()
    content = content.replace("\r\n", "\n").replace("\n", line_end)
    tally = Tally()
    assert read(write(folder / "a.csv", content.encode(encoding)), tally) == [
        text for text in map(clean, cells) if text
    ]
    assert tally.documents + tally.skipped.total() == len(cells)


@FEW
@given(
    rows=st.lists(st.lists(st.sampled_from(CELLS), min_size=1, max_size=3), min_size=1, max_size=12),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
def test_whole_rows_lose_nothing(folder: Path, rows: list[list[str]], delimiter: str, suffix: str) -> None:
    content = "\n".join(map(delimiter.join, rows))
    path = write(folder / f"a{suffix}", content)
    found = read_or_refuse(path, header=False)
    if found is not None and "each row" in how(path, header=False):
        assert list(filter(str.isalnum, "".join(found[0]))) == list(filter(str.isalnum, content))


@FEW
@given(
    cells=st.lists(TEXT.map(lambda text: " ".join(text.split())), min_size=1, max_size=6),
    quoted=st.booleans(),
    suffix=st.sampled_from([".csv", ".tsv"]),
)
def test_tables_with_tabs(folder: Path, cells: list[str], quoted: bool, suffix: str) -> None:
    """Cells without quotes may look like quoted ones by chance; then only their number is right."""
    written = ['"{}"'.format(cell.replace('"', '""')) if quoted else cell for cell in cells]
    content = "id\ttext\n" + "".join(f"{number}\t{cell}\n" for number, cell in enumerate(written))
    path = write(folder / f"a{suffix}", content)
    tally = Tally()
    texts = read(path, tally)
    assert tally.documents + tally.skipped.total() == len(cells)
    if quoted or "no quotes" in how(path):
        assert texts == [text for text in cells if text]


@FEW
@given(rows=st.lists(st.one_of(st.none(), st.fixed_dictionaries({"text": st.one_of(st.none(), TEXT)})), max_size=6))
@pytest.mark.parametrize("indent", [None, 1])
def test_rows_of_json(folder: Path, rows: list[dict[str, str | None] | None], indent: int | None) -> None:
    texts = [clean(row["text"] or "") for row in rows if row]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    for name, content in (("a.jsonl", lines), ("b.json", lines), ("c.json", json.dumps(rows, indent=indent))):
        tally = Tally()
        assert read(write(folder / name, content), tally) == [text for text in texts if text]
        assert tally.documents + tally.skipped.total() - tally.skipped["empty file"] == len(rows)


@FEW
@given(rows=st.lists(st.one_of(JSON, st.dictionaries(KEYS, JSON, max_size=3)), max_size=4))
def test_any_json(folder: Path, rows: list[Any]) -> None:
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    for name, content in (("a.jsonl", lines), ("a.json", json.dumps(rows))):
        found = read_or_refuse(write(folder / name, content))
        if found is not None:
            texts, tally = found
            assert len(texts) + tally.skipped.total() - tally.skipped["empty file"] == len(rows)


@FEW
@given(
    content=st.one_of(TEXT, st.lists(TEXT, max_size=30).map("\n".join)),
    rule=st.sampled_from(["auto", "lines", "blank-lines", "files", "whole", "<|endoftext|>"]),
)
def test_text_is_neither_lost_nor_invented(folder: Path, content: str, rule: str) -> None:
    found = read_or_refuse(write(folder / "a.txt", content), documents=rule)
    if found is not None:
        kept = "".join("".join(found[0]).replace("<|endoftext|>", "").split())
        assert kept == "".join(content.replace("<|endoftext|>", "").split())


@FEW
@given(
    content=st.one_of(
        st.binary(max_size=40),
        st.tuples(st.lists(TEXT, max_size=20).map("\n".join), st.sampled_from(ENCODINGS)).map(
            lambda pair: pair[0].encode(pair[1], "replace")
        ),
    ),
    header=st.sampled_from([None, True, False]),
    column=st.sampled_from([None, "text", "1", ""]),
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_anything_is_read_or_refused(
    folder: Path, suffix: str, content: bytes, header: bool | None, column: str | None
) -> None:
    read_or_refuse(write(folder / f"a{suffix}", content), header=header, column=column)
