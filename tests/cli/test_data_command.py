"""`mlx-tiny data show`: what would be trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlx_tiny.cli import data_command
from mlx_tiny.data.tokenizer import load_tokenizer

from .command_line import call, succeeded, write_notes

SMALL = ("--vocabulary-size", "512")


@pytest.fixture
def folder(place: Path) -> Path:
    """A folder with a layout, a notice, a picture, and documents that occur twice."""
    texts = place / "texts"
    texts.mkdir()
    write_notes(texts / "train.txt", 200)
    write_notes(texts / "valid.txt", 20)
    write_notes(texts / "test.txt", 10)
    (texts / "LICENSE").write_text("Free.")
    (texts / "a.png").write_bytes(b"\x89PNG\0")
    return texts


def test_everything_that_was_found_is_shown(folder: Path) -> None:
    out = succeeded(call("data", "show", folder, *SMALL)).out
    lines = dict(line.split(": ", 1) for line in out.splitlines() if ": " in line and not line.startswith(" "))
    for kind in ("train", "valid", "test"):
        assert f"{kind}.txt" in lines[kind]
    assert "LICENSE" in out and ".png" in out and "valid.txt" in lines["split"]
    assert lines["documents"].startswith("180 (") and "20 training documents are validation documents" in out
    assert "vocabulary 512" in lines["tokens"]
    assert out.count("\ndocument ") == 3


@pytest.mark.parametrize(
    ("preset", "asked", "size"),
    [
        ("auto", {}, 2048),
        ("tiny", {}, 1024),
        ("base", {}, 4096),
        ("auto", {"schema": "s.yaml"}, 8192),
        ("tiny", {"schema": "s.yaml"}, 1024),
        ("base", {"vocabulary_size": 300}, 300),
        ("base", {"tokenizer": "bytes"}, 2048),
    ],
)
def test_the_vocabulary_is_that_of_the_preset(preset: str, asked: dict, size: int) -> None:
    assert data_command.vocabulary_of(preset, asked)[0] == size


def test_an_unknown_preset_is_refused(place: Path) -> None:
    assert "Unknown preset" in call("data", "show", "notes.txt", "--preset", "huge").err


def test_a_vocabulary_that_training_refuses_is_refused(folder: Path) -> None:
    refused = call("data", "show", folder, "--vocabulary-size", "30000")
    assert refused.code == 1 and "Expected a vocabulary of at most" in refused.err
    assert "vocabulary: " in succeeded(call("data", "show", folder)).out


def test_json_has_the_same_and_the_pieces(folder: Path, place: Path) -> None:
    found = json.loads(succeeded(call("data", "show", folder, *SMALL, "--json")).out)
    assert found["train"]["documents"] == 180 and found["found"]["in_both"] == 20
    (prepared,) = (place / "home" / "prepared").iterdir()
    tokenizer = load_tokenizer(prepared / "tokenizer.model")
    texts = ["".join(pieces) for pieces in found["examples"]]
    assert texts[0] == (folder / "train.txt").read_text().split("\n<|endoftext|>\n")[20]
    assert [len(pieces) for pieces in found["examples"]] == [len(tokenizer.encode(text)) for text in texts]


def test_train_uses_what_was_shown_and_says_it_in_two_lines(
    folder: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = succeeded(call("data", "show", "texts", *SMALL)).out
    monkeypatch.setattr("mlx_tiny.cli.session.train", lambda *_, **__: None)
    monkeypatch.setattr("mlx_tiny.data.prepare.survey", lambda *_: pytest.fail("prepared again"))
    said = succeeded(call("train", "--data", "texts", *SMALL, "--preset", "tiny", "--run", "r")).err
    assert said.startswith("data: own text: ")
    for line in shown.splitlines():
        if line.startswith(("documents: ", "warning: ", "left out: ")):
            assert line in said.splitlines()


def test_pieces_are_shown_on_one_line() -> None:
    assert data_command._text("é".encode()) == "é" and data_command._text("東".encode()[:2]) == "<E6><9D>"
    assert data_command._visible("one\n\ttwo") == "one\\n\\ttwo"


def test_standard_input_is_shown(place: Path) -> None:
    text = (place / "notes.txt").read_text()
    out = succeeded(call("data", "show", "-", *SMALL, stdin=text)).out
    assert out.splitlines()[0].startswith(f"data: {place / 'home'}")
    assert "taken for .txt" in out and "--suffix" in out
    rows = "text,n\n" + "".join(f'"{line}",1\n' for line in text.split("\n<|endoftext|>\n"))
    out = succeeded(call("data", "show", "-", *SMALL, "--suffix", ".csv", stdin=rows)).out
    assert "column 'text'" in out and "taken for" not in out
    out = succeeded(call("data", "show", "notes.txt", "--validation", "-", *SMALL, stdin="Once.")).out
    assert "1 (5 B) for validation" in out


def test_a_run_on_standard_input_can_be_resumed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpora = []
    monkeypatch.setattr("mlx_tiny.cli.session.train", lambda run, corpus, *_, **__: corpora.append(corpus))
    text = (place / "notes.txt").read_text()
    succeeded(call("train", "--data", "-", *SMALL, "--preset", "tiny", "--run", "r", stdin=text))
    succeeded(call("train", "--resume", "r", "--budget", "1h"))
    first, second = corpora
    assert first.key == second.key and first.train_bytes + first.valid_bytes > 10_000


def test_documents_are_the_same_however_their_tokens_are_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = succeeded(call("data", "show", "notes.txt", *SMALL)).out
    monkeypatch.setattr("mlx_tiny.data.batches._BLOCK_TOKENS", 3)
    assert succeeded(call("data", "show", "notes.txt", *SMALL)).out == whole and "document 3:" in whole
