from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_tiny import files
from mlx_tiny.config import DataConfig
from mlx_tiny.data import prepare as module
from mlx_tiny.data import sampling
from mlx_tiny.data.batches import require_tokens
from mlx_tiny.data.documents import document_hash
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data.prepared import PreparedCorpus, find_prepared, require_sequence
from mlx_tiny.data.sources import FileSource
from mlx_tiny.data.summary import summary
from mlx_tiny.errors import TinyError

TextFile = Callable[..., Path]

CHILD = """
import os, signal, sys
from mlx_tiny.config import DataConfig
from mlx_tiny.data.sources import FileSource
from mlx_tiny.data.summary import summary
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data import prepare as module

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def progress(phase, done, total):
    if f"{phase} {done > 0}" == sys.argv[2]:
        die()

rename, fsync = os.rename, os.fsync
if sys.argv[2] == "before rename":
    os.rename = lambda *given: die()
if sys.argv[2] == "after rename":
    os.rename = lambda *given: (rename(*given), die())
if sys.argv[2] == "fsync":
    os.fsync = lambda *given: die()
print(prepare(DataConfig(sources=(sys.argv[1],), vocabulary_size=512), progress=progress).key)
"""
MOMENTS = [
    "read True",
    "tokenizer False",
    "tokenizer True",
    "encode True",
    "fsync",
    "before rename",
    "after rename",
]


def config(path: Path, **settings: Any) -> DataConfig:
    return DataConfig(sources=(str(path),), **{"vocabulary_size": 512, **settings})  # type: ignore[arg-type]


def child(path: Path, moment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), moment],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def entries(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "prepared").glob("*"))


def check_whole(prepared: PreparedCorpus, stories: list[str], held_out: float = 0.02) -> None:
    """The token files contain exactly the corpus, in its order."""
    tokenizer = prepared.tokenizer
    for tokens, side in ((prepared.train, False), (prepared.valid, True)):
        texts = [text for text in stories if (document_hash(text) / 2**64 < held_out) is side]
        expected = [tokenizer.bos]
        for text in texts:
            expected += [*tokenizer.encode(text), tokenizer.bos]
        assert tokens.tolist() == expected


def test_layout_and_numbers(text_file: TextFile, stories: list[str], home: Path) -> None:
    prepared = prepare(config(text_file(stories)))
    check_whole(prepared, stories)
    held_out = [text for text in stories if document_hash(text) / 2**64 < 0.02]
    assert 1 <= len(held_out) < 30
    assert prepared.train.dtype == np.uint16
    assert prepared.valid_bytes == sum(len(text.encode()) for text in held_out)
    assert prepared.train_bytes + prepared.valid_bytes == sum(len(text.encode()) for text in stories)
    assert prepared.bytes_per_token == pytest.approx(prepared.valid_bytes / (len(prepared.valid) - 1))
    assert prepared.valid_entropy_bits is None
    assert prepared.tokenizer.size == 512
    assert prepared.directory == home / "prepared" / prepared.key
    assert prepared.record.tokenizer_hash == prepared.tokenizer.hash
    assert prepared.record.valid.documents == len(held_out)
    raw = b"".join(len(text.encode()).to_bytes(8, "little") + text.encode() for text in held_out)
    assert prepared.valid_text_hash == hashlib.sha256(raw).hexdigest()
    assert prepared.description.startswith("own text: ")
    assert sorted(os.listdir(prepared.directory)) == [
        "meta.json",
        "tokenizer.model",
        "train.bin",
        "valid.bin",
    ]


def test_text_that_is_not_ascii_counts_in_bytes(text_file: TextFile, stories: list[str]) -> None:
    texts = [f"\u00e9\U0001f600 \u2581 {text}" for text in stories]
    prepared = prepare(config(text_file(texts)))
    assert prepared.train_bytes + prepared.valid_bytes == sum(len(text.encode()) for text in texts)
    check_whole(prepared, texts)


def test_prepared_once(text_file: TextFile, stories: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = text_file(stories)
    first = prepare(config(path))
    monkeypatch.setattr(module, "_write", None)
    again = prepare(config(path))
    assert again.key == first.key
    assert np.array_equal(again.train, first.train)
    moved = path.rename(path.with_name("moved.txt"))
    assert prepare(config(moved)).key == first.key
    assert "moved.txt" in prepare(config(moved)).description


def test_names_are_those_of_the_source_also_where_the_text_was_prepared_before(
    stories: list[str], tmp_path: Path
) -> None:
    """Two folders of equal texts have one key, but other names and other files beside them."""
    found = []
    for folder, text, beside in (("a", "one.txt", "LICENSE"), ("b", "two.txt", "picture.png")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / text).write_text("\n<|endoftext|>\n".join([*stories, stories[0]]))
        (tmp_path / folder / beside).write_text("Free.")
        prepared = prepare(config(tmp_path / folder))
        record = prepared.record
        assert text in record.found.groups[0].first and beside[-4:] in record.found.left_out[0]
        assert record.settings.sources == (str(tmp_path / folder),) and record.source == prepared.description
        found.append((prepared.key, record.found.duplicates, record.train))
    assert found[0] == found[1] and found[0][1] == 1


def test_text_and_settings_make_the_key(text_file: TextFile, stories: list[str]) -> None:
    keys = {
        prepare(config(text_file(texts), **settings)).key
        for texts, settings in (
            (stories, {}),
            (stories, {"seed": 5, "train_bytes": 9, "stories_scale": 0.5}),
            (stories[1:], {}),
            (stories, {"vocabulary_size": 520}),
            (stories, {"tokenizer": "bytes"}),
            (stories, {"held_out": 0.1}),
        )
    }
    assert len(keys) == 5


@pytest.mark.parametrize("kind", ["bpe", "characters", "bytes"])
def test_a_text_in_few_words_gets_the_vocabulary_that_it_supports(
    text_file: TextFile, stories: list[str], kind: str
) -> None:
    path = text_file(["0110 1001"[index % 5 :] + " 1" * (index % 7) for index in range(300)])
    prepared = prepare(config(path, tokenizer=kind, vocabulary_size=2048))
    check_whole(prepared, [document.text for document in FileSource(config(path)).documents()])
    assert 257 <= prepared.tokenizer.size == prepared.record.vocabulary_size < 300
    (line,) = [line for line in summary(prepared.record) if line.startswith("vocabulary: ")]
    assert f"{prepared.tokenizer.size} tokens" in line and "2048" in line
    # Neither the folder that is there now nor a new one satisfies a demand for more.
    for _ in range(2):
        with pytest.raises(TinyError, match=f"at most {prepared.tokenizer.size}, got 2048"):
            prepare(config(path, tokenizer=kind, vocabulary_size=2048), exact_vocabulary=True)
        files.discard_folder(prepared.directory)
    exact = prepare(config(path, tokenizer="bpe", vocabulary_size=260), exact_vocabulary=True)
    assert exact.tokenizer.size == 260 and not [line for line in summary(exact.record) if "vocabulary" in line]


def test_generated_stories_carry_their_entropy() -> None:
    stories_config = DataConfig(sources=("stories",), vocabulary_size=600, train_bytes=200_000, validation_bytes=20_000)
    prepared = prepare(stories_config)
    assert 15_000 < prepared.valid_bytes <= 20_000
    assert 195_000 < prepared.train_bytes <= 200_000
    assert prepared.valid_entropy_bits is not None
    assert 0 < prepared.valid_entropy_bits < 8 * prepared.valid_bytes
    decoded = prepared.tokenizer.decode(prepared.valid)
    assert len(decoded.encode()) == prepared.valid_bytes
    assert prepare(stories_config).valid_entropy_bits == prepared.valid_entropy_bits


def test_beginning_of_generated_stories_is_not_lost_or_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    stories_config = DataConfig(sources=("stories",), vocabulary_size=600, train_bytes=200_000, validation_bytes=20_000)
    whole = prepare(stories_config)
    text = whole.tokenizer.decode(whole.train)
    monkeypatch.setattr(sampling, "SAMPLE_BYTES", 50_000)
    files.discard_folder(whole.directory)
    again = prepare(stories_config)
    assert again.tokenizer.decode(again.train) == text
    assert again.tokenizer.hash != whole.record.tokenizer_hash


def test_progress(text_file: TextFile, stories: list[str]) -> None:
    calls: list[tuple[str, float, float]] = []
    prepared = prepare(config(text_file(stories)), progress=lambda *call: calls.append(call))
    phases = [phase for phase, _, _ in calls]
    assert list(dict.fromkeys(phases)) == ["read", "tokenizer", "encode"]
    total = prepared.train_bytes + prepared.valid_bytes
    assert calls[-1] == ("encode", total, total)
    assert all(0 <= done <= most for _, done, most in calls)


def _changed_value(meta: dict[str, Any]) -> None:
    meta["valid"]["bytes"] += 1


def _without_hash(meta: dict[str, Any]) -> None:
    del meta["valid"]["text_hash"]


def _without_seal(meta: dict[str, Any]) -> None:
    del meta["seal"]


DAMAGES: dict[str, Callable[[Path], object]] = {
    "train.bin is cut": lambda folder: cut(folder / "train.bin"),
    "valid.bin is cut": lambda folder: cut(folder / "valid.bin"),
    "meta.json is cut": lambda folder: cut(folder / "meta.json"),
    "train.bin has an unknown id": lambda folder: unknown_id(folder / "train.bin"),
    "valid.bin has an unknown id": lambda folder: unknown_id(folder / "valid.bin"),
    "two files are exchanged": lambda folder: exchange(folder / "train.bin", folder / "valid.bin"),
    "train.bin is absent": lambda folder: (folder / "train.bin").unlink(),
    "train.bin is a pipe": lambda folder: ((folder / "train.bin").unlink(), os.mkfifo(folder / "train.bin")),
    "tokenizer.model is another": lambda folder: (folder / "tokenizer.model").write_bytes(b"{}"),
    "meta.json has another value": lambda folder: edit(folder / "meta.json", _changed_value),
    "meta.json lacks a value": lambda folder: edit(folder / "meta.json", _without_hash),
    "meta.json lacks its seal": lambda folder: edit(folder / "meta.json", _without_seal),
}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def unknown_id(path: Path) -> None:
    path.write_bytes(b"\xff\xff" + path.read_bytes()[2:])


def exchange(first: Path, second: Path) -> None:
    contents = second.read_bytes()
    first.rename(second)
    first.write_bytes(contents)


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_and_mended(text_file: TextFile, stories: list[str], damage: str, home: Path) -> None:
    prepared = prepare(config(text_file(stories)))
    tokens = prepared.train.tolist()
    folder = prepared.directory
    DAMAGES[damage](folder)
    assert find_prepared(prepared.key, "") is None
    told: list[str] = []
    again = prepare(config(text_file(stories)), tell=told.append)
    assert len(told) == 1 and "is damaged and is made again" in told[0]
    assert again.train.tolist() == tokens
    assert again.record == prepared.record
    assert again.tokenizer.hash == prepared.record.tokenizer_hash
    assert entries(home) == [prepared.key]


def test_the_prepared_data_of_another_text_is_not_taken(text_file: TextFile, stories: list[str]) -> None:
    first, second = (prepare(config(text_file(texts))) for texts in (stories, stories[1:]))
    shutil.rmtree(first.directory)
    second.directory.rename(first.directory)
    assert prepare(config(text_file(stories))).train.tolist() == first.train.tolist()


def test_damage_that_stays_is_an_error(
    text_file: TextFile, stories: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "open_prepared", lambda key, description: None)
    with pytest.raises(TinyError, match="damaged as soon as it is written"):
        prepare(config(text_file(stories)))


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_nothing_false_is_trusted(
    text_file: TextFile, stories: list[str], home: Path, moment: str
) -> None:
    path = text_file(stories)
    process = child(path, moment)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, errors
    left = [name for name in entries(home) if not name.startswith(".")]
    assert len(left) == (moment == "after rename")
    assert len(entries(home)) == (moment != "read True" or 1)
    prepared = prepare(config(path))
    check_whole(prepared, stories)
    assert entries(home) == [prepared.key]


def test_a_running_process_keeps_its_folder(text_file: TextFile, stories: list[str], home: Path) -> None:
    parent = files.make_folder(home / "prepared")
    with files.atomic_folder(parent / "other") as aside:
        prepare(config(text_file(stories)))
        assert aside.is_dir()


def test_two_processes_at_once_both_end_well(text_file: TextFile, stories: list[str], home: Path) -> None:
    path = text_file(stories)
    processes = [child(path, "never") for _ in range(3)]
    results = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], results
    keys = {printed.strip() for printed, _ in results}
    assert len(keys) == 1
    assert entries(home) == list(keys)
    check_whole(prepare(config(path)), stories)


def test_errors_leave_nothing(text_file: TextFile, stories: list[str], home: Path) -> None:
    with pytest.raises(TinyError, match="too small for the vocabulary"):
        prepare(config(text_file(stories), vocabulary_size=32768), exact_vocabulary=True)
    with pytest.raises(TinyError, match="held out for validation"):
        prepare(config(text_file(stories), held_out=1 - 1e-9))
    assert entries(home) == []


def test_text_that_changes_meanwhile_is_not_kept(text_file: TextFile, stories: list[str], home: Path) -> None:
    path = text_file(stories)

    def edit(phase: str, done: float, total: float) -> None:
        if phase == "tokenizer":
            path.write_text(path.read_text() + "One more.\n")

    with pytest.raises(TinyError, match="changed while it was being prepared"):
        prepare(config(path), progress=edit)
    assert entries(home) == []


def test_a_cache_that_cannot_be_written(
    text_file: TextFile, stories: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").write_text("a file, not a folder")
    monkeypatch.setenv("MLX_TINY_HOME", str(tmp_path / "blocked"))
    with pytest.raises(TinyError, match="blocked"):
        prepare(config(text_file(stories)))


@pytest.mark.parametrize(
    ("documents", "share"), [(["one"], 0.02), (["one"], 0.0), (["one", "two", "three"], 0.02), (["one", "two"], 0.0)]
)
def test_a_book_or_two_are_enough(text_file: TextFile, stories: list[str], documents: list[str], share: float) -> None:
    books = [f"{title}: " + "\n".join(stories) for title in documents]
    prepared = prepare(config(text_file(books), held_out=share))
    text, valid = (prepared.tokenizer.decode(tokens) for tokens in (prepared.train, prepared.valid))
    assert prepared.record.valid.documents == len(books)
    if share:
        assert 0.01 < prepared.valid_bytes / prepared.train_bytes < 0.03
        assert all(ending in valid and ending not in text for ending in (books[0][-500:],))
    else:
        assert text == "".join(books) and prepared.record.found.trained_on_validation


def test_a_name_that_is_not_utf8_is_recorded(stories: list[str], tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt"))
    try:
        path.write_text("\n<|endoftext|>\n".join(stories))
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    prepared = prepare(config(path))
    assert prepared.record.settings.sources == (str(path),)
    assert "\ufffd.txt" in prepared.description and "\ufffd.txt" in prepared.record.found.groups[0].first


def test_require_sequence(text_file: TextFile, stories: list[str]) -> None:
    prepared = prepare(config(text_file(stories)))
    require_sequence(prepared.parts, len(prepared.train) - 1)
    with pytest.raises(TinyError, match=r"shorter than one sequence.*Give more text, or a shorter context"):
        require_sequence(prepared.parts, len(prepared.train))
    with pytest.raises(TinyError) as refused:
        require_tokens(7, 128)
    assert "context" not in (refused.value.remedy or "") and "more text" in (refused.value.remedy or "")
