from __future__ import annotations

import gzip
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from reading import how, read

from mlx_tiny.data.documents import Tally
from mlx_tiny.data.formats import parquet as parquet_format
from mlx_tiny.data.opening import InputFile
from mlx_tiny.errors import TinyError
from mlx_tiny.tools.isolated import isolated

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def write(path: Path, **columns: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), path)
    return path


KINDS = [
    pyarrow.string(),
    pyarrow.large_string(),
    pyarrow.binary(),
    pyarrow.large_binary(),
    pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("name", ["text", "tale"])
def test_texts_of_every_kind(tmp_path: Path, kind: Any, name: str) -> None:
    words = [f"Tale {number}" for number in range(700)]
    rows = [text for word in words for text in (f"{word}\r\n", None, " ", "\U0001f600 Two")]
    texts = pyarrow.array(rows).cast(kind)
    path = write(tmp_path / "a.parquet", n=list(range(2800)), **{name: texts})
    tally = Tally()
    assert read(path, tally) == [text for word in words for text in (word, "\U0001f600 Two")]
    assert tally.skipped == {"null text": 700, "empty text": 700}
    assert "(75 % of rows)" in how(path)


def test_a_file_that_ends_the_process_of_its_reader_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_format, "isolated", lambda *_: isolated("builtins", "map", os._exit, [134]))
    path = write(tmp_path / "a.parquet", text=["one"])
    for reading in (read, lambda path: list(parquet_format.read_parquet_rows(InputFile(path)))):
        with pytest.raises(TinyError, match=r"a\.parquet is damaged.*134"):
            reading(path)


def test_batches_are_bounded_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_format, "_BATCH_BYTES", 10_000)
    texts = [f"{number} " + "x" * 3000 for number in range(50)]
    assert read(write(tmp_path / "a.parquet", text=texts)) == texts


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([["a"]], "list"),
        ([{"a": "b"}], "struct"),
        (pyarrow.array([None]), "null"),
        ([5], "int64"),
        ([[{"role": "user", "content": "Hi"}]], "list"),
    ],
)
def test_a_text_column_of_another_type_is_not_replaced(tmp_path: Path, values: Any, found: str) -> None:
    path = write(tmp_path / "a.parquet", text=values, title=["T"])
    with pytest.raises(TinyError, match=rf"'text' of .* contains no text\. Got {found}.*title"):
        read(path)
    assert read(path, column="title") == ["T"]


def test_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", title=["T"], text=["One"], n=[1])
    assert (read(path), read(path, column="title")) == (["One"], ["T"])
    with pytest.raises(TinyError, match=r"no column 'body'. Got the columns title, text, n"):
        read(path, column="body")
    with pytest.raises(TinyError, match=r"column 'n' of .* contains no text. Got int64"):
        read(path, column="n")
    with pytest.raises(TinyError, match=r"which column.*left, right"):
        read(write(path, left=["T"], right=["One"]))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pyarrow.table([["a"], ["b"]], names=["text", "text"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(TinyError, match="text"):
        read(tmp_path / "a.parquet")


def test_chats(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    tally = Tally()
    assert read(write(tmp_path / "a.parquet", messages=[chat, None], id=["x", "y"]), tally) == [
        "<|user|>Hi<|assistant|>Hello"
    ]
    assert (tally.roles, tally.skipped.total()) == ({"user", "assistant"}, 1)
    assert read(write(tmp_path / "b.parquet", prompt=["2"], completion=["4"])) == ["<|user|>2<|assistant|>4"]


MESSAGES = pyarrow.struct([("role", pyarrow.string()), ("content", pyarrow.string())])


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.list_(MESSAGES),
        pyarrow.large_list(MESSAGES),
        pyarrow.list_(MESSAGES, 1),
        pyarrow.list_view(MESSAGES),
        pyarrow.large_list_view(MESSAGES),
    ],
    ids=["list", "large list", "list of fixed size", "view", "large view"],
)
def test_chats_in_lists_of_every_kind(tmp_path: Path, kind: Any) -> None:
    messages = pyarrow.array([[{"role": "user", "content": "Hi"}]], kind)
    assert read(write(tmp_path / "a.parquet", id=["a1"], messages=messages)) == ["<|user|>Hi"]


@pytest.mark.parametrize("values", [[["One"]], [{"text": "One"}], [[{"from": "human", "value": "Hi"}]]])
def test_text_may_be_in_what_is_nested(tmp_path: Path, values: Any) -> None:
    with pytest.raises(TinyError, match=r"which column contains the text.*id, data"):
        read(write(tmp_path / "a.parquet", id=["a1"], data=values))


@pytest.mark.parametrize(
    "kind", [pyarrow.binary(), pyarrow.string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())]
)
def test_bytes_that_are_not_text(tmp_path: Path, kind: Any) -> None:
    texts = pyarrow.array([b"One", b"Tw\xff", b"Three"])
    texts = texts.cast(kind) if kind == pyarrow.binary() else texts.view(pyarrow.string()).cast(kind)
    with pytest.raises(TinyError, match=r"Row 2 of .* not UTF-8.*--text-column"):
        read(write(tmp_path / "a.parquet", text=texts))


def test_a_nul_character(tmp_path: Path) -> None:
    with pytest.raises(TinyError, match=r"Row 2 of .*U\+0000"):
        read(write(tmp_path / "a.parquet", text=["One", "a\0b"]))


def test_packed(tmp_path: Path) -> None:
    raw = write(tmp_path / "a.parquet", text=["One"]).read_bytes()
    (tmp_path / "a.parquet.gz").write_bytes(gzip.compress(raw))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.parquet", raw)
    assert read(tmp_path / "a.parquet.gz") == read(tmp_path / "a.zip") == ["One"]


def test_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("no parquet at all, but long enough")
    with pytest.raises(TinyError, match="damaged or not a Parquet"):
        read(path)
    whole = write(path, text=[f"Text {n}" for n in range(5000)]).read_bytes()
    path.write_bytes(whole[:100] + bytes(200) + whole[300:])
    with pytest.raises(TinyError, match=r"a\.parquet"):
        read(path)


@pytest.mark.parametrize("name", ["__index_level_0__", "key"])
def test_an_index_of_pandas_is_no_text(tmp_path: Path, name: str) -> None:
    table = pyarrow.table({"tale": ["One", "Two"], name: ["Ann B", "Cy D"]})
    path = tmp_path / "a.parquet"
    parquet.write_table(table.replace_schema_metadata({"pandas": f'{{"index_columns": ["{name}"]}}'}), path)
    assert (read(path), read(path, column=name)) == (["One", "Two"], ["Ann B", "Cy D"])


HOSTILE_VALUES = {
    "date": (2**30, pyarrow.date32()),
    "seconds": (10**15, pyarrow.timestamp("s")),
    "duration": (2**62, pyarrow.duration("s")),
    "zone": (1, pyarrow.timestamp("s", tz="Mars/Olympus")),
}


@pytest.mark.parametrize("name", HOSTILE_VALUES)
def test_values_that_python_does_not_have_are_named(tmp_path: Path, name: str) -> None:
    value, kind = HOSTILE_VALUES[name]
    path = write(tmp_path / "a.parquet", item=["a"] * 100, when=pyarrow.array([None] * 99 + [value], kind))
    with pytest.raises(TinyError, match=r"Row 100 of .*a\.parquet has a value of 'when'") as raised:
        list(parquet_format.read_parquet_rows(InputFile(path)))
    assert "damaged" not in str(raised.value) and ".." not in str(raised.value)
    assert ("time zone 'Mars/Olympus'" in str(raised.value)) == (name == "zone")
    rows = list(parquet_format.read_parquet_rows(InputFile(path), ["item"]))
    assert rows == [(number, {"item": "a", "when": None}) for number in range(1, 101)]


def test_rows_say_which_columns_there_are_where_none_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", item=["a", "b"], who=[1, 2])
    row = {"item": None, "who": None}
    assert list(parquet_format.read_parquet_rows(InputFile(path), ["price"])) == [(1, row), (2, row)]


def test_rows_with_two_columns_of_one_name(tmp_path: Path) -> None:
    table = pyarrow.table([["a"], ["b"], ["c"]], names=["item", "who", "item"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(TinyError, match="two columns of the name 'item'"):
        list(parquet_format.read_parquet_rows(InputFile(tmp_path / "a.parquet")))
