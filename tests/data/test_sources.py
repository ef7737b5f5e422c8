from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlx_tiny.config import DataConfig
from mlx_tiny.data import generated, sources
from mlx_tiny.data.documents import Document, Tally, document_hash
from mlx_tiny.data.findings import Findings, Seen
from mlx_tiny.data.generated import StoriesSource
from mlx_tiny.data.mixture import resolve_data
from mlx_tiny.data.sampling import survey
from mlx_tiny.data.sources import FileSource, files_to_measure, resolve
from mlx_tiny.data.stories import Story
from mlx_tiny.errors import TinyError

TextFile = Callable[..., Path]


def quiet(phase: str, done: float, total: float) -> None:
    pass


def documents(*paths: Path, seen: Seen | None = None, **settings: Any) -> list[Document]:
    """The documents of some files."""
    return list(FileSource(DataConfig(sources=tuple(map(str, paths)), **settings)).documents(seen))


def surveyed(*paths: Path, **settings: Any) -> Findings:
    """What the first pass over some files finds."""
    config = DataConfig(sources=tuple(map(str, paths)), **settings)
    return survey(FileSource(config), config, quiet).found


class TestSplit:
    def test_hash_decides_whatever_the_order(self, text_file: TextFile, stories: list[str]) -> None:
        def held_out(texts: list[str]) -> set[str]:
            return {document.text for document in documents(text_file(texts), held_out=0.2) if document.held_out}

        chosen = held_out(stories)
        assert 40 < len(chosen) < 120
        assert held_out(stories[::-1] + stories) == chosen
        assert held_out(stories[:100]) == chosen & set(stories[:100])

    def test_validation_files_are_never_trained_on(self, tmp_path: Path, text_file: TextFile) -> None:
        train, valid = text_file(["One", "Two"], "a.txt"), text_file(["Three"], "b.txt")
        assert documents(train, validation=str(valid)) == [
            Document("One", False),
            Document("Two", False),
            Document("Three", True),
        ]
        (tmp_path / "x").mkdir()
        held_out = [document.held_out for document in documents(tmp_path, validation=f"{tmp_path}/x/../b*")]
        assert held_out == [False, False, True]
        with pytest.raises(TinyError, match=r"Every file of .* is a validation file"):
            documents(valid, validation=str(valid))

    def test_a_layout_is_obeyed_and_test_is_not_read(self, tmp_path: Path, text_file: TextFile) -> None:
        for name in ("train", "valid", "test"):
            text_file([f"{name} {number}" for number in range(3)], f"{name}.txt")
        expected = [Document(f"{name} {n}", name == "valid") for name in ("train", "valid") for n in range(3)]
        assert documents(tmp_path) == expected
        found = surveyed(tmp_path)
        assert [(group.split, group.files, Path(group.first).name) for group in found.groups] == [
            *(("train", 1, "train.txt"), ("valid", 1, "valid.txt"), ("test", 1, "test.txt"))
        ]
        assert "valid.txt" in found.split
        (tmp_path / "x").mkdir()
        other = text_file(["mine"], "x/mine.txt")
        assert [d.text for d in documents(tmp_path, validation=str(other)) if d.held_out] == ["mine"]
        text_file(["Free."], "x/LICENSE")
        left_out = " ".join(surveyed(tmp_path, validation=str(tmp_path / "x")).left_out)
        assert "valid.txt (--validation names other text)" in left_out and "LICENSE" in left_out
        (tmp_path / "valid.txt").unlink()
        assert {d.text.split()[0] for d in documents(tmp_path)} == {"train"}

    def test_test_files_are_listed(self, tmp_path: Path, text_file: TextFile) -> None:
        for name in ("a.txt", "test.txt"):
            text_file(["One", "Two"], name)
        assert surveyed(tmp_path).left_out == (f"{tmp_path}/test.txt (test files are never trained on)",)

    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({"train.jsonl": "", "test.jsonl": '{"text": "One"}'}, r"is empty.*train\.jsonl"),
            ({"valid.txt": "One", "test.txt": "Two"}, r"no training text.*valid\.txt.*test\.txt.*--include"),
            ({"test.txt": "Two"}, "no training text"),
        ],
    )
    def test_a_layout_without_training_text_is_refused(self, tmp_path: Path, files: dict[str, str], words: str) -> None:
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        with pytest.raises(TinyError, match=words):
            documents(tmp_path)
        measured = files_to_measure(DataConfig(sources=(str(tmp_path),)), Tally()).files
        assert [file.path.name for file in measured] == [name for name in files if name.startswith("test")]

    def test_held_out_documents_are_never_trained_on_too(self, text_file: TextFile) -> None:
        train, valid = text_file(["One", "Two", "Three", "Two"], "a.txt"), text_file(["Two", "Four"], "b.txt")
        seen = Seen()
        found = documents(train, validation=str(valid), seen=seen)
        assert [d.text for d in found if not d.held_out] == ["One", "Three"]
        assert [d.text for d in found if d.held_out] == ["Two", "Four"]
        counted = surveyed(train, validation=str(valid))
        assert (counted.in_both, counted.duplicates, counted.duplicates_estimated) == (2, 1, False)

    def test_validation_equal_to_training_is_refused(self, text_file: TextFile, stories: list[str]) -> None:
        train, valid = text_file(stories[:9], "a.txt"), text_file(stories[8::-1], "b.txt")
        with pytest.raises(TinyError, match=r"is the same as the validation text.* Got 9 documents"):
            surveyed(train, validation=str(valid))

    def test_duplicates_are_counted_and_stay_on_one_side(self, text_file: TextFile, stories: list[str]) -> None:
        path = text_file([*stories, *stories[:50], *stories[:10]])
        assert surveyed(path, held_out=0.2).duplicates == 60
        sides: dict[str, set[bool]] = {}
        for document in documents(path, held_out=0.2):
            sides.setdefault(document.text, set()).add(document.held_out)
        assert all(len(side) == 1 for side in sides.values())

    def test_nothing_held_out(self, text_file: TextFile, stories: list[str]) -> None:
        found = documents(text_file(stories), held_out=0.0)
        assert [d.text for d in found if not d.held_out] == stories
        assert [d.text for d in found if d.held_out] == stories
        assert surveyed(text_file(stories), held_out=0.0).trained_on_validation

    def test_each_side_needs_text(self, text_file: TextFile, stories: list[str]) -> None:
        with pytest.raises(TinyError, match=r"contains no documents: all its texts are empty"):
            surveyed(text_file([" ", "\n\n"]))
        for texts, share in ((["One"], 0.02), (stories[:50], 1 - 1e-9)):
            with pytest.raises(TinyError, match=r"Every document of .* is held out.*--held-out, 0 for none"):
                surveyed(text_file(texts), held_out=share)
        with pytest.raises(TinyError, match=r"b\.txt contains no documents"):
            surveyed(text_file(["One", "Two"], "a.txt"), validation=str(text_file([" "], "b.txt")))

    @pytest.mark.parametrize(
        ("others", "words"),
        [
            ({".md": 9}, r"9 \.md \(--suffix \.md takes them"),
            ({".md": 2, ".rst": 1}, r"2 \.md, 1 \.rst \(--suffix takes"),
        ],
    )
    def test_too_little_text_beside_other_text_names_that(
        self, tmp_path: Path, others: dict[str, int], words: str
    ) -> None:
        (tmp_path / "todo.txt").write_text("x")
        for suffix, count in others.items():
            for number in range(count):
                (tmp_path / f"{number}{suffix}").write_text(f"Note {number}")
        with pytest.raises(TinyError, match=rf"Every document of .* is held out.*{words}"):
            surveyed(tmp_path)

    def test_files_beside_the_data_are_listed(self, tmp_path: Path, text_file: TextFile) -> None:
        text_file(["Free."], "LICENSE")
        text_file(["One", "Two"], "a.txt")
        (left_out,) = surveyed(tmp_path).left_out
        assert left_out.startswith("LICENSE ")


@given(
    train=st.lists(st.none() | st.text(max_size=6), min_size=1, max_size=60),
    valid=st.lists(st.text(max_size=6), min_size=1, max_size=5) | st.none(),
    share=st.sampled_from([0.0, 0.02, 0.5]),
)
def test_every_row_is_learned_held_out_or_counted(
    tmp_path_factory: pytest.TempPathFactory, train: list[str | None], valid: list[str] | None, share: float
) -> None:
    assume(any(text is not None for text in train))
    folder, rows = tmp_path_factory.mktemp("rows"), {"train": train, "valid": valid}
    for name, texts in rows.items():
        lines = [json.dumps({"text": text.replace("\0", "") if text else text}) for text in texts or []]
        (folder / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))
    named = str(folder / "valid.jsonl") if valid else None
    seen = Seen()
    config = DataConfig(sources=(str(folder / "train.jsonl"),), validation=named, held_out=share)
    found = list(FileSource(config).documents(seen))
    learned = [document.text for document in found if not document.held_out]
    held_out = [document.text for document in found if document.held_out]
    assert seen.tally.documents + sum(seen.tally.skipped.values()) == len(train) + len(valid or [])
    if valid:
        assert len(learned) + len(held_out) + seen.in_both == seen.tally.documents
        assert not set(learned) & set(held_out)
    elif share == 0:
        assert len(learned) == seen.tally.documents and learned == held_out
    else:
        assert letters(learned + held_out) == letters([(text or "").replace("\0", "") for text in train])


def letters(texts: list[str]) -> Counter[str]:
    """How often each character but white space occurs."""
    return Counter("".join("".join(texts).split()))


class TestFingerprint:
    def test_content_and_reading_count_but_not_the_place(self, tmp_path: Path, stories: list[str]) -> None:
        def fingerprint(name: str, content: str, **settings: Any) -> str:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
            return FileSource(DataConfig(sources=(str(path),), **settings)).fingerprint()  # type: ignore[arg-type]

        first = fingerprint("a.txt", "text\n\nTwo")
        assert fingerprint("elsewhere/b.txt", "text\n\nTwo") == first
        others = [
            fingerprint("a.txt", "text\n\nTwO"),
            fingerprint("a.csv", "text\n\nTwo"),
            fingerprint("a.txt", "text\n\nTwo", held_out=0.5),
            fingerprint("a.txt", "text\n\nTwo", text_column="x"),
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
        assert all(document_hash(text) / 2**64 >= 0.1 for text in first.sample)
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


@pytest.mark.parametrize(
    ("name", "content"),
    [("b.txt", b"One\0"), ("b.jsonl", b'{"text": "One"}\n' * 3000 + b"{"), ("b.zip", b"PK"), ("b.md.gz", b"no gzip")],
)
def test_one_bad_file_among_others_may_be_left_out(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "x").mkdir()
    for path in (tmp_path / name, tmp_path / "x" / name):
        path.write_bytes(content)
    for other in ("a.txt", "c.txt"):
        (tmp_path / "x" / other).write_text("One. Two. Three.")
    for source, possible in ((tmp_path / name, False), (tmp_path / "x", True)):
        with pytest.raises(TinyError, match=name) as caught:
            documents(source, suffix=(".md",) if ".md" in name else ())
        assert ("move it out" in str(caught.value)) is possible


def test_the_only_table_beside_code_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"left": "a", "right": "b"}')
    (tmp_path / "b.py").write_text("x = 1")
    with pytest.raises(TinyError, match=r"--text-column.*\*\.py"):
        documents(tmp_path)


class TestResolve:
    def test_a_setting_that_takes_nothing_is_refused(self, tmp_path: Path, text_file: TextFile) -> None:
        first, second = text_file(["One"]), text_file(["Two"], "b.md")
        for settings, words in (({"suffix": (".nosuch",)}, r"--suffix \.nosuch"), ({"include": ("x",)}, "--include x")):
            config = DataConfig(sources=(str(first),), **settings)  # type: ignore[arg-type]
            for refused in (resolve, lambda config: files_to_measure(config, Tally())):
                with pytest.raises(TinyError, match=words):
                    refused(config)
        resolve(DataConfig(sources=(str(first),), validation=str(second), suffix=(".md",)))
        resolve_data(DataConfig(sources=(f"{first}:1", f"{second}:1"), suffix=(".md",)))

    def test_names_mean_themselves(self, tmp_path: Path, text_file: TextFile, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("stories", "auto"):
            (tmp_path / name).mkdir()
        text_file(["One"], "stories/a.txt")
        monkeypatch.chdir(tmp_path)
        source = resolve(DataConfig(sources=("stories",)))
        assert source.description.startswith("stories: generated, 40 MB")
        assert "./stories" in source.findings(Seen()).left_out[0]
        described = resolve(DataConfig(sources=("./stories",))).description
        assert described.startswith("own text: ./stories (1 file, 18 B; txt, ")

    def test_auto_without_a_cache_means_stories(self) -> None:
        assert isinstance(resolve(DataConfig()), StoriesSource)

    def test_validation_files_go_with_own_text_only(self) -> None:
        for name in ("auto", "stories", "tinystories"):
            with pytest.raises(TinyError, match="validation file can only be used with your own text"):
                resolve(DataConfig(sources=(name,), validation="x.txt"))
            with pytest.raises(TinyError, match=f"{name} cannot be combined with other text"):
                resolve(DataConfig(sources=("x.txt", name)))

    @pytest.mark.parametrize("validation", [None, "c\nd.txt"])
    def test_a_name_with_a_line_end_is_one_line(
        self, tmp_path: Path, text_file: TextFile, monkeypatch: pytest.MonkeyPatch, validation: str | None
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for name in ("a\nb.txt", "c\nd.txt"):
            text_file(["One", "Two"], name)
        source = FileSource(DataConfig(sources=("a\nb.txt",), validation=validation))
        assert source.description.splitlines() == [source.description]
        assert "\n" not in source.findings(Seen()).split

    def test_sources_have_one_interface(self, text_file: TextFile) -> None:
        source: sources.Source = resolve(DataConfig(sources=(str(text_file(["One"])),)))
        source.make_ready(quiet)
        assert "\n" not in source.description
        assert source.size_bytes > 0
