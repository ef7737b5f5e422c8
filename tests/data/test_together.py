"""The files of one source are read alike, and its validation and test text as its training text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.config import DataConfig
from mlx_tiny.data.documents import Tally
from mlx_tiny.data.measured import named_texts
from mlx_tiny.data.sources import FileSource
from mlx_tiny.data.tokenizers.characters import ByteTokenizer
from mlx_tiny.errors import TinyError

MARKER = "<|endoftext|>\n"


def names(count: int, first: int = 0) -> str:
    return "".join(f"Name {number}\n" for number in range(first, first + count))


def paragraphs(count: int, name: str) -> str:
    return "\n\n".join(f"{name} {number}: {'a paragraph of a chapter ' * 12}" for number in range(count))


def write(folder: Path, contents: dict[str, str]) -> Path:
    for name, content in contents.items():
        (folder / name).write_text(content)
    return folder


def counts(*paths: Path, **settings: Any) -> tuple[int, int]:
    """Documents that are trained on and held out."""
    found = [document.held_out for document in FileSource(DataConfig(tuple(map(str, paths)), **settings)).documents()]
    return found.count(False), found.count(True)


@pytest.mark.parametrize(
    ("train", "valid", "expected"),
    [
        (names(30), names(3, 30), (30, 3)),
        (paragraphs(25, "A"), paragraphs(3, "B"), (25, 3)),
        (paragraphs(3, "A"), paragraphs(25, "B"), (1, 1)),
        (names(30), f"One\n{MARKER}Two\n", (30, 2)),
        (f"One\n{MARKER}Two\n", names(30), (2, 1)),
    ],
    ids=["lines", "blank lines", "whole", "separators in validation text", "separators in training text"],
)
@pytest.mark.parametrize(
    "pair", ["train.txt val.txt", "names.train.txt names.dev.txt", "train.txt val.text", "a.txt b"]
)
def test_validation_text_is_read_as_training_text(
    tmp_path: Path, train: str, valid: str, expected: tuple[int, int], pair: str
) -> None:
    first, second = pair.split()
    folder = write(tmp_path, {first: train, second: valid})
    assert counts(folder / first, validation=str(folder / second)) == expected
    if first != "a.txt":
        assert counts(folder, suffix=(".text",) if ".text" in second else ()) == expected


def test_test_text_is_read_as_the_training_text_beside_it(tmp_path: Path) -> None:
    folder = write(tmp_path, {"train.txt": names(30), "test.txt": names(3, 30)})

    def measured(path: Path) -> int:
        return len(list(named_texts(DataConfig((str(path),)), ByteTokenizer(), Tally())))

    assert measured(folder) == 3
    assert measured(folder / "test.txt") == 1


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ({f"c{n}.txt": paragraphs(15 + 2 * n, f"C{n}") for n in range(6)}, 15 + 17 + 19 + 21 + 23 + 25),
        ({f"c{n}.txt": paragraphs(15 + n, f"C{n}") for n in range(6)}, 6),
        ({"a.txt": names(40), "b.txt": names(5, 40)}, 45),
        ({"a.txt": names(40), "b.txt": f"One\n{MARKER}Two\n"}, 3),
        ({"a.txt": names(40), "b.txt": " ", "c.md": names(30)}, 41),
    ],
    ids=["blank lines", "whole", "lines", "separators", "other suffix"],
)
def test_all_text_files_are_cut_by_one_rule(tmp_path: Path, contents: dict[str, str], expected: int) -> None:
    folder = write(tmp_path, contents)
    assert counts(folder, held_out=0.0, suffix=(".md",) if "c.md" in contents else ())[0] == expected


def table(count: int, first: int = 0, note: str = "") -> str:
    rows = (f"Sentence number {n} is here.,{'good' if n % 2 else note or 'bad'}\n" for n in range(first, first + count))
    return "en,label\n" + "".join(rows)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_a_header_that_a_larger_table_shows_is_one_in_a_smaller_table(tmp_path: Path, suffix: str) -> None:
    def file(name: str, content: str) -> str:
        (tmp_path / f"{name}{suffix}").write_text(content.replace(",", "," if suffix == ".csv" else "\t"))
        return str(tmp_path / f"{name}{suffix}")

    file("train", table(40)), file("val", table(2, 40)), file("a", table(1, 42))
    documents = list(FileSource(DataConfig((str(tmp_path),), include=(f"a{suffix}",))).documents())
    held_out = [document.text for document in documents if document.held_out]
    assert len(documents) - len(held_out) == 41
    assert [text[:18] for text in held_out] == ["Sentence number 40", "Sentence number 41"]
    assert not any("label" in document.text for document in documents)
    (tmp_path / f"a{suffix}").unlink()
    file("test", table(3, 43))
    assert len(list(named_texts(DataConfig((str(tmp_path),)), ByteTokenizer(), Tally()))) == 3


def test_what_a_larger_table_shows_holds_where_a_smaller_one_shows_other(tmp_path: Path) -> None:
    numbers = "note,count\n" + "".join(f"A sentence about {n} things.,{n}\n" for n in range(40))
    folder = write(tmp_path, {"train.csv": numbers, "val.csv": "note,count\n2020,7\nOf two things.,2\n"})
    documents = list(FileSource(DataConfig((str(folder),))).documents())
    assert [document.text for document in documents if document.held_out] == ["2020", "Of two things."]
    write(tmp_path, {"val.csv": "note,count\nOf two things.,a text\n"})
    with pytest.raises(TinyError, match="dropped"):
        counts(folder)
