from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mlx_tiny.data.documents import Rules, Tally
from mlx_tiny.data.opening import InputFile
from mlx_tiny.data.readers import read_texts
from mlx_tiny.errors import TinyError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def read(path: Path, column: str | None = None) -> list[str]:
    return list(read_texts(InputFile(path), Rules(column), Tally()))


def write(path: Path, content: str) -> Path:
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


class TestCsv:
    def test_only_column_of_words(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", 'id,tale,score\n1,"One, ""two""\nlines",0.5\n2,Three,\n\n3, ,1\n')
        assert read(path) == ['One, "two"\nlines', "Three"]

    def test_usual_name_and_named_column(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.tsv.gz", "title\tstory\nT\tOne, two\nU\tThree\n")
        assert read(path) == ["One, two", "Three"]
        assert read(path, "title") == ["T", "U"]

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        assert read(write(tmp_path / "a.csv", "\ufefftext,n\r\nOne,1\r\n")) == ["One"]

    def test_cells_beyond_the_limit_of_the_csv_module(self, tmp_path: Path) -> None:
        assert read(write(tmp_path / "a.csv", f"text\n{'x' * 200_000}\n")) == ["x" * 200_000]

    def test_missing_column_lists_those_there_are(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "title,story\nT,One\n")
        with pytest.raises(TinyError, match=r"no column 'body'\. Got the columns title, story\."):
            read(path, "body")

    def test_ambiguous_columns(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.csv", "left,right\na,b\n")
        with pytest.raises(
            TinyError, match=r"which column contains the text.*got the columns left, right\. .*--text-column"
        ):
            read(path)
        with pytest.raises(TinyError, match="which column"):
            read(write(tmp_path / "b.csv", "n,m\n1,2\n"))

    def test_malformed_rows(self, tmp_path: Path) -> None:
        with pytest.raises(TinyError, match=r"Line 3 of .* too few cells. Expected 2 .*, got 1"):
            read(write(tmp_path / "a.csv", "n,text\n1,One\n2\n"))
        with pytest.raises(TinyError, match=r"malformed near line 4.*quotes"):
            read(write(tmp_path / "b.csv", 'n,text\n1,One\n2,"Two\n3,Three\n'))

    def test_bad_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(b"text\nOne\nTw\xe9\n")
        with pytest.raises(TinyError, match="byte 0xE9 at byte 11"):
            read(path)
        path.write_bytes(b"text\nOne\0\n")
        with pytest.raises(TinyError, match="binary file"):
            read(path)


class TestParquet:
    def test_string_columns_of_every_kind(self, tmp_path: Path) -> None:
        texts = ["One\r\n", None, " ", "\U0001f600 Two"] * 700
        for kind in (
            pyarrow.string(),
            pyarrow.large_string(),
            pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
        ):
            table = pyarrow.table({"n": list(range(2800)), "tale": pyarrow.array(texts).cast(kind)})
            parquet.write_table(table, tmp_path / "a.parquet")
            assert read(tmp_path / "a.parquet") == ["One", "\U0001f600 Two"] * 700

    def test_columns(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        parquet.write_table(pyarrow.table({"title": ["T"], "text": ["One"], "n": [1]}), path)
        assert read(path) == ["One"]
        assert read(path, "title") == ["T"]
        with pytest.raises(TinyError, match=r"no column 'body'. Got the columns title, text, n"):
            read(path, "body")
        with pytest.raises(TinyError, match=r"column 'n' of .* contains no text. Got int64"):
            read(path, "n")
        parquet.write_table(pyarrow.table({"left": ["T"], "right": ["One"]}), path)
        with pytest.raises(TinyError, match="which column"):
            read(path)

    def test_damaged(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        path.write_text("no parquet at all, but long enough")
        with pytest.raises(TinyError, match="damaged or not a Parquet"):
            read(path)
        parquet.write_table(pyarrow.table({"text": [f"Text {n}" for n in range(5000)]}), path)
        whole = path.read_bytes()
        path.write_bytes(whole[:100] + bytes(200) + whole[300:])
        with pytest.raises(TinyError, match=r"a\.parquet"):
            read(path)
