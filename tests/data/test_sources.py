from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.config import DataConfig
from mlx_tiny.data import generated, sources
from mlx_tiny.data.documents import Document, split_fraction
from mlx_tiny.data.generated import StoriesSource
from mlx_tiny.data.sampling import survey
from mlx_tiny.data.sources import FileSource, find_files, resolve
from mlx_tiny.data.stories import Story
from mlx_tiny.errors import TinyError

TextFile = Callable[..., Path]


def quiet(phase: str, done: float, total: float) -> None:
    pass


def fill(folder: Path) -> None:
    for name in (
        "b.txt",
        "a.jsonl",
        "deep/er/c.csv.gz",
        ".hidden/d.txt",
        "deep/.e.txt",
        "notes.md",
        "data.bin",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {".jsonl": json.dumps({"text": f"In {name}"}), ".gz": f"text\nIn {name}\n"}.get(path.suffix)
        raw = (content or f"In {name}").encode()
        path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


class TestFiles:
    def test_folder(self, tmp_path: Path) -> None:
        fill(tmp_path)
        assert [str(path.relative_to(tmp_path)) for path in find_files(str(tmp_path))] == [
            "a.jsonl",
            "b.txt",
            "deep/er/c.csv.gz",
        ]
        texts = [document.text for document in FileSource(DataConfig(sources=(str(tmp_path),))).documents()]
        assert texts == ["In a.jsonl", "In b.txt", "In deep/er/c.csv.gz"]

    def test_glob_and_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fill(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert [path.name for path in find_files(f"{tmp_path}/*")] == ["a.jsonl", "b.txt", "c.csv.gz"]
        assert [path.name for path in find_files("~/**/*.gz")] == ["c.csv.gz"]
        assert [path.name for path in find_files("~/b.txt")] == ["b.txt"]

    def test_several_names_are_read_in_their_order_and_each_file_once(self, tmp_path: Path) -> None:
        fill(tmp_path)
        names = tuple(f"{tmp_path}/{name}" for name in ("b.txt", "a.jsonl", "*.txt"))
        texts = [document.text for document in FileSource(DataConfig(sources=names)).documents()]
        assert texts == ["In b.txt", "In a.jsonl"]

    def test_a_file_whose_name_looks_like_a_glob(self, text_file: TextFile) -> None:
        path = text_file(["One"], "a[1].txt")
        assert find_files(str(path)) == [path]

    def test_refusals(self, tmp_path: Path) -> None:
        fill(tmp_path)
        (tmp_path / "empty").mkdir()
        for named, message in (
            (
                f"{tmp_path}/absent",
                "absent does not exist. Expected a file, a folder, a glob, or one of auto",
            ),
            (f"{tmp_path}/*.pdf", r"No file matches .*\*\.pdf"),
            (f"{tmp_path}/*.md", "No file that matches .* is text. Expected files that end in .txt, .jsonl"),
            (f"{tmp_path}/empty", "The folder .*empty contains no text. Expected files that end in .txt"),
            (f"{tmp_path}/notes.md", "notes.md has an unsupported suffix. Expected .txt.* got .md"),
        ):
            with pytest.raises(TinyError, match=message):
                find_files(named)

    def test_unreadable_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(TinyError, match="No permission to read"):
            find_files(str(tmp_path))


class TestSplit:
    def test_hash_decides_whatever_the_order(self, text_file: TextFile, stories: list[str]) -> None:
        def held_out(texts: list[str]) -> set[str]:
            source = FileSource(DataConfig(sources=(str(text_file(texts)),), held_out=0.2))
            return {document.text for document in source.documents() if document.held_out}

        chosen = held_out(stories)
        assert 40 < len(chosen) < 120
        assert held_out(stories[::-1] + stories) == chosen
        assert held_out(stories[:100]) == chosen & set(stories[:100])

    def test_validation_files_are_never_trained_on(self, tmp_path: Path, text_file: TextFile) -> None:
        train, valid = text_file(["One", "Two"], "a.txt"), text_file(["Three"], "b.txt")
        config = DataConfig(sources=(str(tmp_path),), validation=f"{tmp_path}/x/../b*")
        assert list(FileSource(DataConfig(sources=(str(train),), validation=str(valid))).documents()) == [
            Document("One", False),
            Document("Two", False),
            Document("Three", True),
        ]
        (tmp_path / "x").mkdir()
        assert [document.held_out for document in FileSource(config).documents()] == [False, False, True]
        with pytest.raises(TinyError, match=r"Every file of .* is a validation file"):
            FileSource(DataConfig(sources=(str(valid),), validation=str(valid)))

    def test_each_side_needs_a_document(self, text_file: TextFile, stories: list[str]) -> None:
        def look(texts: list[str], **settings: Any) -> None:
            config = DataConfig(sources=(str(text_file(texts)),), **settings)  # type: ignore[arg-type]
            survey(FileSource(config), config, quiet)

        with pytest.raises(TinyError, match=r"contains no documents: all its texts are empty"):
            look([" ", "\n\n"])
        with pytest.raises(TinyError, match=r"a single document.* <\|endoftext\|> .* validation file"):
            look(["Just one"])
        with pytest.raises(TinyError, match=r"No document of .* is held out for validation") as caught:
            look(stories[:5], held_out=1e-9)
        share = float(str(caught.value).split("share held out above ")[1].split(",")[0])
        look(stories[:5], held_out=share + 1e-5)
        with pytest.raises(TinyError, match=r"Every document of .* is held out for validation"):
            look(stories[:5], held_out=1 - 1e-9)

    def test_named_validation_without_documents(self, text_file: TextFile) -> None:
        train, valid = text_file(["One", "Two"], "a.txt"), text_file([" "], "b.txt")
        config = DataConfig(sources=(str(train),), validation=str(valid))
        with pytest.raises(TinyError, match=r"b\.txt contains no documents"):
            survey(FileSource(config), config, quiet)


class TestFingerprint:
    def test_content_and_reading_count_but_not_the_place(self, tmp_path: Path, stories: list[str]) -> None:
        def fingerprint(name: str, content: str, **settings: Any) -> str:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
            return FileSource(DataConfig(sources=(str(path),), **settings)).fingerprint()  # type: ignore[arg-type]

        first = fingerprint("a.txt", "One\n\nTwo")
        assert fingerprint("elsewhere/b.txt", "One\n\nTwo") == first
        others = [
            fingerprint("a.txt", "One\n\nTwO"),
            fingerprint("a.csv", "One\n\nTwo"),
            fingerprint("a.txt", "One\n\nTwo", held_out=0.5),
            fingerprint("a.txt", "One\n\nTwo", text_column="x"),
        ]
        assert len({first, *others}) == 5


class TestSample:
    def test_large_corpora_are_sampled_across(
        self, text_file: TextFile, stories: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mlx_tiny.data.sampling.SAMPLE_BYTES", 20_000)
        config = DataConfig(sources=(str(text_file(stories)),), held_out=0.1)
        first = survey(FileSource(config), config, quiet)
        positions = [stories.index(text) for text in first.sample]
        assert 10_000 < sum(map(len, first.sample)) <= 20_000
        assert positions == sorted(positions)
        assert positions[0] < 40
        assert positions[-1] > 360
        assert all(split_fraction(text) >= 0.1 for text in first.sample)
        assert survey(FileSource(config), config, quiet).sample == first.sample
        assert [document.text for document in first.documents] == stories

    def test_one_long_or_repeated_document_does_not_fill_the_sample(
        self, text_file: TextFile, stories: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mlx_tiny.data.sampling.SAMPLE_BYTES", 20_000)
        monkeypatch.setattr("mlx_tiny.data.sampling._PART_CHARACTERS", 500)
        for texts in (
            [*stories, "long " * 10_000],
            [*stories, *["same"] * 10_000],
            ["same"] * 10_000,
        ):
            config = DataConfig(
                sources=(str(text_file(texts)),), held_out=0.1, validation=str(text_file(["x"], "v.txt"))
            )
            assert 15_000 < sum(map(len, survey(FileSource(config), config, quiet).sample)) <= 20_000


class FakeGrammar:
    """Stories of 10 bytes; validation stories are numbered below 0."""

    def __init__(self, *, scale: float, dependency: int) -> None:
        self.settings = (scale, dependency)

    def validation(self, seed: int, count: int) -> list[Story]:
        return [Story(f"v{seed:03}{number:06}", 2.5) for number in range(count)]

    def training(self, seed: int, validation: list[Story]) -> Iterator[Story]:
        number = 0
        while True:
            yield Story(f"t{seed:03}{number:06}", 3.0)
            number += 1

    def fingerprint(self) -> str:
        return repr(self.settings)


class TestStories:
    @pytest.fixture(autouse=True)
    def fake(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(generated, "StoryGrammar", FakeGrammar)

    def test_bounds_and_bits(self) -> None:
        source = StoriesSource(DataConfig(sources=("stories",), train_bytes=105, validation_bytes=12_349, seed=7))
        documents = list(source.documents())
        valid = [document for document in documents if document.held_out]
        assert [len(valid), len(documents) - len(valid)] == [1234, 10]
        assert documents[0] == Document("v007000000", True, 2.5)
        assert documents[-1] == Document("t007000009", False, 3.0)
        assert list(source.documents()) == documents

    def test_fingerprint(self) -> None:
        settings: list[dict[str, Any]] = [{}, {"seed": 1}, {"train_bytes": 99}, {"validation_bytes": 99}]
        settings += [{"stories_scale": 0.5}, {"stories_dependency": 3}]
        hashes = {StoriesSource(DataConfig(**given)).fingerprint() for given in settings}  # type: ignore[arg-type]
        assert len(hashes) == len(settings)
        other = StoriesSource(DataConfig(vocabulary_size=4096, held_out=0.5))
        assert other.fingerprint() in hashes

    def test_bounds_too_small_for_one_story(self) -> None:
        for setting in ("train_bytes", "validation_bytes"):
            config = DataConfig(**dict[str, Any]({"train_bytes": 100, "validation_bytes": 100, setting: 9}))
            with pytest.raises(TinyError, match=f"{setting} is too small for a single story. Expected at least 10"):
                list(StoriesSource(config).documents())

    def test_sample_is_the_beginning(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mlx_tiny.data.sampling.SAMPLE_BYTES", 55)
        config = DataConfig(sources=("stories",), train_bytes=1000, validation_bytes=100)
        source = StoriesSource(config)
        surveyed = survey(source, config, quiet)
        assert surveyed.sample == [f"t000{number:06}" for number in range(6)]
        assert list(surveyed.documents) == list(source.documents())


class TestResolve:
    def test_names_mean_themselves(self, tmp_path: Path, text_file: TextFile, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("stories", "auto"):
            (tmp_path / name).mkdir()
        text_file(["One"], "stories/a.txt")
        monkeypatch.chdir(tmp_path)
        assert resolve(DataConfig(sources=("stories",))).description.startswith("stories: generated, 40MB")
        described = resolve(DataConfig(sources=("./stories",))).description
        assert described == "own text: ./stories (1 file, 18B; 0.02 of the documents held out by hash)"

    def test_auto_without_a_cache_means_stories(self) -> None:
        assert isinstance(resolve(DataConfig()), StoriesSource)

    def test_validation_files_go_with_own_text_only(self) -> None:
        for name in ("auto", "stories", "tinystories"):
            with pytest.raises(TinyError, match="validation file can only be used with your own text"):
                resolve(DataConfig(sources=(name,), validation="x.txt"))
            with pytest.raises(TinyError, match=f"{name} cannot be combined with other text"):
                resolve(DataConfig(sources=("x.txt", name)))

    def test_sources_have_one_interface(self, text_file: TextFile) -> None:
        source: sources.Source = resolve(DataConfig(sources=(str(text_file(["One"])),)))
        source.make_ready(quiet)
        assert "\n" not in source.description
        assert source.size_bytes > 0
