from __future__ import annotations

from pathlib import Path

import pytest
from reading import how, read, write

from mlx_tiny.data.documents import Tally
from mlx_tiny.errors import TinyError


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.txt.gz", "a.csv.zip"])
def test_an_empty_file_is_counted(tmp_path: Path, name: str) -> None:
    tally = Tally()
    assert read(write(tmp_path / name, ""), tally) == []
    assert tally.skipped == {"empty file": 1}
    assert how(tmp_path / name) == "empty"


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", '{"text": "One"}'), ("a.csv", "text,n\nOne,1\n")])
def test_a_rule_for_text_files_does_not_pass_for_one_of_rows(tmp_path: Path, name: str, content: str) -> None:
    path = write(tmp_path / name, content)
    assert read(path, documents="lines") == ["One"]
    assert "not by --documents" in how(path, documents="lines")


def test_a_column_does_not_pass_for_a_rule_of_text_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "One")
    assert read(path, column="text") == ["One"]
    assert "--text-column" in how(path, column="text") and "--text-column" not in how(path)


@pytest.mark.parametrize(
    ("name", "content", "rules"),
    [
        ("a.csv", "text\nOne\n", {"documents": "x" * 5000}),
        ("a.txt", f"{'x' * 5000}\nOne\n", {"documents": "x" * 5000}),
        ("a.txt", "One\n", {"column": "x" * 5000}),
        ("a.txt", "One\n", {"documents": "x" * 5000}),
        ("a.csv", "text\nOne\n", {"column": "x" * 5000}),
        ("a.jsonl", '{"text": "One"}', {"column": "x\n" * 5000}),
    ],
)
def test_long_options_are_cut_in_what_is_said(tmp_path: Path, name: str, content: str, rules: dict[str, str]) -> None:
    try:
        said = how(write(tmp_path / name, content), **rules)
    except TinyError as error:
        said = str(error)
    assert len(said) < 600 and "\n" not in said


@pytest.mark.parametrize("content", ["\n", " \n\n\t\n", "\ufeff", "\ufeff\r\r\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a.py"])
def test_white_space_gives_no_documents(tmp_path: Path, name: str, content: str) -> None:
    assert read(write(tmp_path / name, content)) == []
