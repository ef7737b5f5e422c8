from __future__ import annotations

import gzip
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from mlx_tiny.data.sources import FileSource
from mlx_tiny.data.tokenizer import load_tokenizer
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counting_file import counting_path
from mlx_tiny.training.evaluate import evaluate
from mlx_tiny.training.trained import load_model

from .command_line import call, files_below, read_report, succeeded

TEXTS = [
    "Ann found the ball.\r\nBen lost it.  ",
    "A storm: Ünter den Linden, 東京, 🙂!",
    "",
    "Story 7. Cleo painted the kite. " * 20,
]


@pytest.fixture
def text(place: Path) -> Path:
    path = place / "other.txt"
    path.write_text("\n<|endoftext|>\n".join(TEXTS), encoding="utf-8", newline="")
    return path


def measure(run: Path, *arguments: str | Path) -> dict[str, float]:
    """The output of `eval --json`."""
    finished = succeeded(call("eval", run, *arguments, "--json"))
    assert len(finished.out.splitlines()) == 1 and all(
        line.startswith(("warning: ", "read")) for line in finished.err.splitlines()
    )
    return dict(json.loads(finished.out))


def test_a_text_is_measured_by_the_protocol(trained: Path, text: Path) -> None:
    """BOS before each document and at the end; every other token predicted once; bytes of the documents' text."""
    run = RunFolder(trained)
    tokenizer = load_tokenizer(run.tokenizer_model)
    documents = [document.replace("\r\n", "\n").strip() for document in TEXTS if document]
    tokens = [part for document in documents for part in (tokenizer.bos, *tokenizer.encode(document))]
    size = sum(len(document.encode()) for document in documents)
    array = np.array([*tokens, tokenizer.bos], dtype=np.uint16)
    expected = evaluate(run.load_weights(), run.config.model, array, size)
    measured = measure(trained, text)
    assert (measured["tokens"], measured["bytes"]) == (len(tokens), size)
    assert measured["bits_per_byte"] == pytest.approx(expected.nats / math.log(2) / size, rel=1e-6)
    assert measured["perplexity_per_token"] == pytest.approx(math.exp(expected.nats / len(tokens)), rel=1e-6)


def test_the_same_documents_measure_the_same_in_every_form(trained: Path, text: Path, place: Path) -> None:
    rows = [{"id": number, "text": document} for number, document in enumerate(TEXTS)]
    (place / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "other.txt.gz").write_bytes(gzip.compress(text.read_bytes()))
    two = [{"title": f"t{number}", "body": document} for number, document in enumerate(TEXTS)]
    (place / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in two))
    expected = measure(trained, text)
    assert measure(trained, "other.jsonl") == expected
    assert measure(trained, "other.txt.gz") == expected
    assert measure(trained, "two.jsonl", "--text-column", "body") == expected
    assert measure(trained, "two.jsonl", "--text-column", "title") != expected
    assert measure(trained, "oth*.txt") == expected


def test_the_validation_documents_measure_what_the_report_says(trained: Path, place: Path) -> None:
    held_out = [d.text for d in FileSource(RunFolder(trained).config.data).documents() if d.held_out]
    (place / "valid.txt").write_text("\n<|endoftext|>\n".join(held_out), encoding="utf-8")
    measured, report = measure(trained, "valid.txt"), read_report(trained)
    assert measured["bits_per_byte"] == pytest.approx(report["bits_per_byte"], rel=1e-9)
    assert measured["perplexity_per_token"] == pytest.approx(report["perplexity_per_token"], rel=1e-9)
    assert measured["tokens"] == report["evaluated_tokens"]
    assert measured["fingerprint"] == report["evaluation_fingerprint"]


def test_text_is_the_same_numbers_and_the_run_is_left_as_it_was(trained: Path, text: Path) -> None:
    before = files_below(trained)
    measured = measure(trained, text)
    shown = succeeded(call("eval", trained, text)).results()
    assert shown == {
        "bits_per_byte": f"{measured['bits_per_byte']:.6g}",
        "with_counting_bits_per_byte": f"{measured['with_counting_bits_per_byte']:.6g}",
        "perplexity_per_token": f"{measured['perplexity_per_token']:.6g}",
        "tokens": str(measured["tokens"]),
        "bytes": str(measured["bytes"]),
        "documents": str(measured["documents"]),
        "fingerprint": measured["fingerprint"],
    }
    assert files_below(trained) == before


def test_documents_that_were_learned_are_said(trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_TINY_HOME", str(trained.parent / "home"))
    assert "were trained on" in succeeded(call("eval", trained, "notes.txt")).err
    (place / "new.txt").write_text("Nobody has learned this.")
    assert "were trained on" not in succeeded(call("eval", trained, "new.txt")).err
    assert 0 < measure(trained, "notes.txt")["documents_trained_on"] < measure(trained, "notes.txt")["documents"]
    assert measure(trained, "new.txt")["documents_trained_on"] == 0


def test_a_text_is_read_by_the_settings_of_the_run(trained: Path, place: Path) -> None:
    assert load_model(trained).data == RunFolder(trained).config.data
    (place / "lines.txt").write_text("One line.\nAnother one.\n")
    run = shutil.copytree(trained, place / "copy")
    config = json.loads((run / "config.json").read_text())
    config["config"]["data"]["documents"] = "whole"
    (run / "config.json").write_text(json.dumps(config))
    original = RunFolder(trained)
    counting_path(RunFolder(run)).unlink()
    RunFolder(run).save_weights(original.load_weights(), original.weights_step() or 0)
    for command in ("eval", "score", "predict"):
        assert "documents whole" in succeeded(call(command, run, "lines.txt")).err
    assert (measure(run, "lines.txt")["bytes"], measure(trained, "lines.txt")["bytes"]) == (22, 21)


def test_the_text_that_was_learned_is_easier_than_another(trained: Path, place: Path) -> None:
    (place / "noise.txt").write_text("Zqx vjk wpf! " * 40)
    assert measure(trained, "notes.txt")["bits_per_byte"] < measure(trained, "noise.txt")["bits_per_byte"] - 1
