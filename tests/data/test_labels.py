"""Texts have short names that tell them apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import story

from mlx_tiny.config import DataConfig
from mlx_tiny.data.generated import StoriesSource
from mlx_tiny.data.labels import label, labels, without_details
from mlx_tiny.data.names import keep_stream
from mlx_tiny.data.sources import FileSource


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "home"))
    return tmp_path


def described(*paths: Path) -> str:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n<|endoftext|>\n".join(story(n) for n in range(60)))
    return FileSource(DataConfig(sources=tuple(map(str, paths)))).description


@pytest.mark.parametrize("name", ["notes.txt", "my (old) notes, 2.txt", "a: b.txt"])
def test_a_file_has_its_own_name(folder: Path, name: str) -> None:
    text = described(folder / "deep" / name)
    assert label(text) == name
    assert without_details(text) == f"own text: {folder / 'deep' / name}"


def test_several_files_are_listed_and_corpora_have_names(folder: Path) -> None:
    assert label(described(folder / "a.txt", folder / "b.txt")) == "a.txt, b.txt"
    assert label(StoriesSource(DataConfig(sources=("stories",))).description) == "stories"
    assert label("TinyStories V2 (12MB of 2GB)") == "TinyStories V2"
    assert label("events: /d/shop.csv (1.2MB; by schema.yaml; 0.02 of the histories held out)") == "shop.csv"


def test_texts_that_are_called_alike_are_told_apart(folder: Path) -> None:
    texts = [described(folder / name / "train.txt") for name in ("one", "two")]
    first, second, third = labels([*texts, described(folder / "other.txt")])
    assert first != second and "one" in first and "two" in second and third == "other.txt"


def test_standard_input_is_called_so_and_what_it_was_taken_for_stays(folder: Path) -> None:
    with open(folder / "in", "w+b") as stream:
        stream.write("\n".join(map(story, range(60))).encode())
        stream.seek(0)
        text = FileSource(DataConfig(sources=(str(keep_stream(stream)),))).description
    assert label(text) == "standard input"
    assert "taken for .txt" in without_details(text) and "held out" not in without_details(text)
