"""Bad input gives an exit code and one helpful paragraph, no traceback, and leaves no files."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlx_tiny.cli import main, session
from mlx_tiny.data.tokenizers.byte_pair import BytePairTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.tools.signals import ENDING

from .cases import NOTES, TRAIN, USAGE, USER, Case, assert_explained, everything
from .command_line import (
    MODULE,
    call,
    call_process,
    environment,
    text_of,
    workplace,
    write_notes,
)

REACH_SECONDS = 3.0
NOBODY = 65534


def data(name: str, *words: str, flags: tuple[str, ...] = ()) -> Case:
    return Case((*TRAIN, "--data", name, *flags), words)


def setting(flags: str, *words: str, code: int = USER) -> Case:
    return Case((*NOTES, *flags.split()), words, code)


DATA_CASES = {
    "missing file": data("absent.txt", "absent.txt does not exist", "Expected a file, a folder", "Check the path"),
    "text in the home of nobody": data("~nosuchuser/a.txt", "home folder", "~nosuchuser", "Write the whole path"),
    "empty file": data("empty.txt", "empty.txt contains no documents", "Name a file with text"),
    "white space only": data("blank.txt", "blank.txt contains no documents", "Name a file with text"),
    "folder without text": data("pictures", "pictures contains no text", "Expected files that end in .txt"),
    "glob without match": data("*.log", "No file matches", "*.log", "Check the pattern"),
    "no name": Case((*TRAIN, "--data", ""), ("name of the text is empty", "Expected a file")),
    "no validation name": Case((*NOTES, "--validation", ""), ("name of the text is empty",)),
    "binary file": data("binary.txt", "binary.txt is a binary file", "Expected UTF-8 text", "NUL byte in line 1"),
    "UTF-16": data("wide.txt", "wide.txt is a binary file", "got UTF-16", "Save it as UTF-8"),
    "invalid UTF-8": data("latin.txt", "latin.txt is not valid UTF-8", "byte 0xE9 in line 3", "Save the file as UTF-8"),
    "broken JSON line": data(
        "broken.jsonl", "Line 3 of", "broken.jsonl is not valid JSON", "Correct or remove the line"
    ),
    "JSON lines without the key": data(
        "good.jsonl",
        "no key 'story'",
        "keys id, body",
        "--text-column",
        flags=("--text-column", "story"),
    ),
    "csv without the column": data(
        "table.csv", "table.csv has no column 'story'", "columns left, right", flags=("--text-column", "story")
    ),
    "csv that leaves the column open": data("open.csv", "does not say which column", "Name the column (--text-column)"),
    "damaged gzip": data("cut.txt.gz", "cut.txt.gz is damaged", "gzip", "again"),
    "all documents held out": data(
        "notes.txt", "Every document", "held out for validation", "--held-out", flags=("--held-out", "0.999999")
    ),
    "validation equal to training": data(
        "notes.txt", "is the same as the validation text", "--validation", flags=("--validation", "copy.txt")
    ),
    "corpus shorter than a window": data(
        "notes.txt",
        "shorter than one sequence",
        "Expected at least 50001 tokens",
        "got",
        flags=("--context", "50000", *"--batch-size 1 --layers 1 --heads 1 --key-value-heads 1".split()),
    ),
    "vocabulary too large for the corpus": data(
        "notes.txt",
        "too small for the vocabulary",
        "Expected a vocabulary of at most",
        "got 8192",
        flags=("--vocabulary-size", "8192"),
    ),
    "validation file for stories": data(
        "stories", "validation file can only be used with your own text", "--data", flags=("--validation", "notes.txt")
    ),
    "missing validation file": data("notes.txt", "absent.txt does not exist", flags=("--validation", "absent.txt")),
}

SETTING_CASES = {
    "unknown unit": setting("--budget 5parsec", "Unknown unit 'parsec' in '5parsec'", "30s, 5m"),
    "no unit": setting("--budget 5", "'5' has no unit", "20Mtok"),
    "negative budget": setting("--budget -5m", "'-5m' is out of range", "Expected a positive number", "got -300"),
    "zero budget": setting("--budget 0s", "'0s' is out of range", "got 0"),
    "endless budget": setting("--budget 1e999s", "'1e999s' is out of range", "got inf"),
    "mixed budget": setting("--budget 5m3tok", "mixes seconds and tokens", "Use one unit"),
    "joules": setting("--budget 5kJ", "'5kJ' is in joules", "no energy meter", "5m, 20Mtok or 1e15flop"),
    "unknown preset": setting("--preset huge", "Unknown preset 'huge'", "auto, tiny, mini", code=USAGE),
    "portable with an option": setting("--preset portable-tiny --options smear=1", "not be portable", "smear: qwen3"),
    "unknown flag": setting("--bugdet 5m", "--bugdet", "Did you mean", "--budget", code=USAGE),
    "budget without --budget": Case(("train", "5m"), ("--budget 5m",), USAGE),
    "text without --data": Case(("train", "my notes.txt"), ("--data 'my notes.txt'",), USAGE),
    "unknown command": Case(("tarin",), ("No such command 'tarin'",), USAGE),
    "unknown activation": setting("--activation foo", "'foo' is not one of 'relu2', 'swiglu'", code=USAGE),
    "unknown backend": setting("--backend jax", "'--backend'", "'jax'", code=USAGE),
    "two budgets": setting("--budget 5m --iters 20", "--iters", "--budget", code=USAGE),
    "no steps": setting("--iters 0", "'--iters'", code=USAGE),
    "learning rate 0": setting("--learning-rate 0", "learning_rate is out of range", "above 0", "got 0"),
    "endless learning rate": setting("--learning-rate inf", "learning_rate is out of range", "got inf"),
    "batch size no number": setting("--batch-size x", "'--batch-size'", "'x' is not a valid integer", code=USAGE),
    "batch size zero": setting("--batch-size 0", "batch_size is out of range", "Expected at least 1, got 0"),
    "uneven batch": setting("--micro-batches 3", "Expected a divisor of the batch size (4), got 3"),
    "vocabulary out of range": setting("--vocabulary-size 100", "Expected 260 to 32768, got 100"),
    "tokenizer beside a schema": setting("--schema s.yaml --tokenizer bytes", "none beside a schema", "got 'bytes'"),
    "odd head": setting("--head-width 3", "head_width is out of range", "Expected an even number", "got 3"),
    "negative seed": setting("--seed -1", "seed is out of range", "Expected a whole number from 0", "got -1"),
    "huge seed": setting(f"--data-seed {2**64}", "seed is out of range"),
    "negative column": setting("--no-header --text-column -1", "text_column is out of range", "got '-1'"),
    "model larger than memory": setting("--width 1000000", "does not fit in the memory", "--preset"),
    "batch larger than memory": setting(
        "--batch-size 1048576 --context 4096", "does not fit in the memory", "--micro-batches"
    ),
    "endless context": setting(f"--context {2**31 - 1}", "context is out of range"),
    "rate not a number": setting("--matrix-rate nan", "matrix_rate is out of range", "Expected above 0", "got nan"),
    "endless rate": setting("--matrix-rate inf", "matrix_rate is out of range", "got inf"),
    "long warm-up": setting("--warmup 0.8", "warmup + cooldown is out of range", "Expected at most 1, got 1.3"),
    "run folder that exists": setting("--run taken", "taken exists already", "--run", "--resume", "remove it"),
    "run folder that is a file": setting("--run notes.txt", "notes.txt exists already", "--resume"),
    "run folder with an endless name": setting(f"--run {'n' * 300}", "File name too long", "Check the path"),
    "resumed run that is none": Case(
        ("train", "--resume", "absent"), ("absent contains no run", "`mlx-tiny train` wrote")
    ),
    "resumed folder that is no run": Case(
        ("train", "--resume", "taken"), ("taken contains no run", "`mlx-tiny train` wrote")
    ),
    "generation without a run": Case(("generate", "absent"), ("absent contains no run", "`mlx-tiny train` wrote")),
    "generation from a file": Case(("generate", "notes.txt"), ("notes.txt contains no run",)),
    "generation without an argument": Case(("generate",), ("Missing argument 'RUN'",), USAGE),
    "evaluation without a run": Case(("eval", "absent", "notes.txt"), ("absent contains no run",)),
    "evaluation without a text": Case(("eval", "absent"), ("Missing argument 'TEXT'",), USAGE),
    "negative temperature": Case(
        ("generate", "absent", "--temperature", "-1"), ("temperature is out of range", "Expected 0 or more, got -1")
    ),
    "top-p 0": Case(("generate", "absent", "--top-p", "0"), ("top_p is out of range", "Expected above 0 to 1, got 0")),
    "no tokens": Case(("generate", "absent", "--max-tokens", "0"), ("max_tokens is out of range", "at least 1, got 0")),
}


@pytest.fixture
def bad_files(place: Path) -> Path:
    (place / "empty.txt").touch()
    (place / "blank.txt").write_text(" \n\n\t\n")
    (place / "pictures").mkdir()
    (place / "pictures" / "one.png").write_bytes(b"\x89PNG")
    (place / "taken").mkdir()
    (place / "binary.txt").write_bytes(b"abc\0\x01\x02")
    (place / "wide.txt").write_text("hello", encoding="utf-16")
    (place / "latin.txt").write_bytes(b"good\n\nA caf\xe9.\n")
    (place / "broken.jsonl").write_text('{"text": "one"}\n\n{"text": "two"\n{"text": "three"}\n')
    (place / "good.jsonl").write_text('{"id": 1, "body": "one"}\n{"id": 2, "body": "two"}\n')
    (place / "table.csv").write_text("left,right\none,two\nthree,four\n")
    (place / "open.csv").write_text("text,story\none,two\nthree,four\n")
    (place / "cut.txt.gz").write_bytes(gzip.compress(b"one\n\ntwo\n" * 100)[:-12])
    write_notes(place / "copy.txt")
    return place


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize("name", [*DATA_CASES, *SETTING_CASES])
def test_a_bad_input_is_explained_and_leaves_nothing(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = {**DATA_CASES, **SETTING_CASES}[name]
    monkeypatch.setattr(session, "train", lambda *_, **__: pytest.fail("training has begun"))
    before = everything(place)
    assert_explained(call(*case.arguments), case)
    after = everything(place)
    if name in ("corpus shorter than a window",):  # what was prepared is good, and kept for the next attempt
        after = {path: content for path, content in after.items() if not path.startswith("home/")}
    assert after == before


@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize("name", ["absent.txt", "latin.txt", "broken.jsonl", "pictures"])
def test_the_data_is_looked_at_before_the_machine_is_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlx_tiny.study.speed.measured_tokens_per_s", lambda *_: pytest.fail("measured"))
    assert call("train", "--data", name, "--run", "r").code == USER


@pytest.mark.parametrize("number", ENDING)
def test_interrupted_preparation_leaves_nothing(
    number: signal.Signals, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(BytePairTokenizer, "encode_bytes", interrupted)
    before = everything(place)
    finished = call(*NOTES)
    assert (finished.code, finished.out) == (128 + number, "")
    assert finished.err.endswith(f"mlx-tiny: Interrupted ({number.name}).\n") and finished.err.count("Interrupted") == 1
    assert everything(place) == before


@pytest.mark.parametrize("flags", [("--run", "~nosuchuser/r"), ("--resume", "~nosuchuser/r")])
def test_a_run_in_the_home_of_nobody_is_refused(place: Path, flags: tuple[str, str]) -> None:
    finished = call(*TRAIN, "--data", "notes.txt", *flags)
    assert finished.code == 1 and "home folder" in finished.err
    assert not list(place.glob("~*"))


def test_a_cache_in_the_home_of_nobody_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_TINY_HOME", "~nosuchuser/cache")
    finished = call(*TRAIN, "--data", "notes.txt", "--run", "r")
    assert finished.code == 1 and "home folder" in finished.err


def test_debug_shows_where_an_error_was_raised(trained: Path) -> None:
    with pytest.raises(TinyError, match="absent does not exist"):
        main(["--debug", "eval", str(trained), "absent"])
    with pytest.raises(OSError, match="File name too long"):
        main(["--debug", *NOTES, "--run", "n" * 300])
    shown = call_process("--debug", "train", "--data", "absent.txt")
    assert shown.code == USER and "Traceback (most recent call last):" in shown.err
    assert "mlx_tiny.errors.TinyError: " in shown.err and "absent.txt does not exist" in shown.err.splitlines()[-1]


def test_tinystories_out_of_reach_says_so_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = int(server.getsockname()[1])
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed}")
    began = time.monotonic()
    finished = call(*TRAIN, "--data", "tinystories")
    assert time.monotonic() - began < REACH_SECONDS
    words = ("TinyStories is not in the cache", f"127.0.0.1:{closed}", "--data FILE", "--data stories")
    assert_explained(finished, Case((), words))
    assert set(everything(place)) == {"notes.txt"}


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Give up the rights of root, who may access every file; for other users nothing changes."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def guarded(trained: Path, open_folder: Path) -> Iterator[Path]:
    """A folder with a read-only folder (`closed`), an inaccessible folder (`secret`), and an unreadable file."""
    folder = open_folder
    modes = {".": 0o777, "closed": 0o555, "secret": 0o000, "mixed": 0o777}
    for name in modes:
        (folder / name).mkdir(exist_ok=True)
    for name in ("notes.txt", "unreadable.txt", "mixed/one.txt", "mixed/two.txt"):
        write_notes(folder / name, 60)
    (folder / "unreadable.txt").chmod(0)
    (folder / "mixed" / "two.txt").chmod(0)
    for name, mode in modes.items():
        (folder / name).chmod(mode)
    # Imports come first (the trained run's, and these), for a stranger may not be allowed to read the modules.
    assert [call(*arguments).code for arguments in (("train", "--data", "absent"), ("generate", "absent"))] == [1, 1]
    try:
        with workplace(folder):
            yield folder
    finally:
        (folder / "secret").chmod(0o700)


PERMISSION_CASES: dict[str, tuple[dict[str, str], Case]] = {
    "run folder": ({}, setting("--run closed/r", "No permission for closed", "--run", "change its permissions")),
    "run below a secret folder": ({}, setting("--run secret/x/r", "secret/x/r", "Permission denied")),
    "cache": ({"MLX_TINY_HOME": "closed/home"}, setting("", "No permission for closed/home", "MLX_TINY_HOME")),
    "data": ({}, data("unreadable.txt", "No permission to read", "unreadable.txt", "chmod u+r")),
    "data in a folder": ({}, data("mixed", "No permission to read", "mixed/two.txt")),
    "data below a secret folder": ({}, data("secret/notes.txt", "secret/notes.txt", "Permission denied")),
    "secret folder of data": ({}, data("secret", "No permission to read", "secret")),
    "run to read": ({}, Case(("generate", "secret"), ("secret/config.json", "Permission denied"))),
    "run to resume below a secret folder": ({}, Case(("train", "--resume", "secret/r"), ("secret/r", "Permission"))),
}


@pytest.mark.parametrize("name", PERMISSION_CASES)
def test_missing_permission_is_explained(name: str, guarded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, case = PERMISSION_CASES[name]
    for variable, value in changes.items():
        monkeypatch.setenv(variable, value)
    before = set(guarded.rglob("*"))
    with unprivileged():
        with pytest.raises(PermissionError):
            (guarded / "closed" / "probe").touch()
        finished = call(*case.arguments)
    assert_explained(finished, case)
    prepared = {guarded / "home", *(guarded / "home").rglob("*")}
    assert set(guarded.rglob("*")) - prepared == before
    assert not [path for path in prepared if path.name.startswith(".")]


def test_bad_text_to_evaluate_is_explained(trained: Path, bad_files: Path) -> None:
    for name, words in (
        ("empty.txt", "There is no text to evaluate"),
        ("blank.txt", "There is no text to evaluate"),
        ("latin.txt", "is not valid UTF-8"),
        ("broken.jsonl", "Line 3 of broken.jsonl is not valid JSON"),
        ("open.csv", "does not say which column"),
        ("absent.txt", "does not exist"),
    ):
        assert_explained(call("eval", trained, name), Case((), (words,)))


def test_a_narrow_encoding_of_the_output_is_no_error(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", out)
    main(["generate", str(trained), "--prompt", "🙂 storm", "--max-tokens", "4"])
    assert text_of(out).startswith("? storm")


def test_a_closed_pipe_is_no_error(trained: Path) -> None:
    command = [*MODULE, "generate", str(trained), "--max-tokens", "20"]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(timeout=30) in (0, 1)
    process.stderr.close()


def test_a_full_disk_behind_the_output_is_explained(trained: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        command = [*MODULE, "generate", str(trained), "--max-tokens", "4"]
        done = subprocess.run(command, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == USER and "Traceback" not in done.stderr
    assert done.stderr.startswith("mlx-tiny: The system reports an error with a file: No space left on device.")
