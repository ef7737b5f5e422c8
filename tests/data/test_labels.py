"""Texts have short names that tell them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlx_tiny.data.labels import label, labels
from mlx_tiny.data.names import keep_stream


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize(
    ("sources", "name"),
    [
        (["/deep/notes.txt"], "notes.txt"),
        (["/deep/my (old) notes, 2.txt"], "my (old) notes, 2.txt"),
        (["/deep/a: b"], "a: b"),
        (["/one/a.txt", "/two/b.txt"], "a.txt, b.txt"),
        (["stories"], "stories"),
    ],
)
def test_files_have_their_own_names_and_corpora_theirs(sources: list[str], name: str) -> None:
    assert label(sources) == name


def test_texts_that_are_called_alike_are_told_apart() -> None:
    texts = [["/one/train.txt"], ["/two/train.txt"], ["/one/other.txt"]]
    assert labels(texts) == ["/one/train.txt", "/two/train.txt", "other.txt"]


def test_standard_input_is_called_so(folder: Path) -> None:
    with open(folder / "in", "w+b") as stream:
        stream.write(b"Once.")
        stream.seek(0)
        assert label([str(keep_stream(stream))]) == "standard input"
