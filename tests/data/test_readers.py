from __future__ import annotations

from pathlib import Path

import pytest
from reading import how, read, write

from mlx_tiny.data.documents import Tally


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.txt.gz", "a.csv.zip"])
def test_an_empty_file_is_counted(tmp_path: Path, name: str) -> None:
    tally = Tally()
    assert read(write(tmp_path / name, ""), tally) == []
    assert tally.skipped == {"empty file": 1}
    assert how(tmp_path / name) == "empty"


@pytest.mark.parametrize("content", ["\n", " \n\n\t\n", "\ufeff", "\ufeff\r\r\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.py"])
def test_white_space_gives_no_documents(tmp_path: Path, name: str, content: str) -> None:
    assert read(write(tmp_path / name, content)) == []
