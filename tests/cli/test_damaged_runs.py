"""Damaged runs and full disks are explained, and complete files stay complete."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attack.edits import Edit, apply

from mlx_tiny.config import FORMAT_VERSION
from mlx_tiny.data.prepare import prepare
from mlx_tiny.data.tokenizers.characters import ByteTokenizer
from mlx_tiny.training.checkpoint import RunFolder

from .cases import NOTES, USAGE, Case, assert_explained, everything
from .command_line import (
    FEW_PAUSES,
    call,
    files_below,
    read_report,
    succeeded,
)


@pytest.fixture
def copied(trained: Path, place: Path) -> Path:
    """A copy of the trained run that the test may damage."""
    return Path(shutil.copytree(trained, place / "copied"))


@pytest.mark.parametrize("kind", ["checkpoint", "weights file"])
def test_damaged_arrays_are_explained(kind: str, copied: Path) -> None:
    path = copied / ("checkpoints/last.safetensors" if kind == "checkpoint" else "weights.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    before = files_below(copied)
    command = ("train", "--resume", copied) if kind == "checkpoint" else ("generate", copied)
    other = "best" if kind == "checkpoint" else "last"
    words = f"The {kind} {path} is damaged", f"The {other} checkpoint, of step", "is whole"
    assert_explained(call(*command), Case((), words))
    assert files_below(copied) == before
    (copied / f"checkpoints/{other}.safetensors").unlink()
    assert_explained(call(*command), Case((), (f"The {kind} {path} is damaged", "Restore it from a copy")))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"damaged")])
def test_the_best_checkpoint_is_a_way_out(damage: Callable[[Path], None], trained: Path, copied: Path) -> None:
    last = copied / "checkpoints" / "last.safetensors"
    damage(last)
    left = last.exists()
    offered = call("train", "--resume", copied).err
    words = shlex.split(offered.strip().removesuffix(".").partition("mlx-tiny train ")[2])
    finished = succeeded(call("train", *words))
    assert "resumed at step" in finished.err
    assert ("last.safetensors.replaced" in finished.err) == last.with_name(f"{last.name}.replaced").exists() == left
    assert RunFolder(copied).weights.read_bytes() == RunFolder(trained).weights.read_bytes()


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.model", "metrics.jsonl", "checkpoints/last.safetensors", "weights.safetensors"]
)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(name: str, copied: Path) -> None:
    (copied / name).unlink()
    os.mkfifo(copied / name)
    command = ("generate", copied) if name == "weights.safetensors" else ("train", "--resume", copied, "--budget", "1h")
    assert_explained(call(*command), Case((), ("is not an ordinary file",)))


def test_a_way_back_needs_a_run() -> None:
    assert_explained(call("train", "--resume-from", "best"), Case((), ("goes with --resume",), USAGE))


def test_a_checkpoint_of_another_configuration_is_refused(copied: Path) -> None:
    change_configuration(copied, "model", "layers", 3)
    before = files_below(copied)
    words = ("belongs to a run of another configuration", "Expected identity", "got", "Restore config.json")
    for command in (("train", "--resume", copied), ("generate", copied)):
        assert_explained(call(*command), Case((), words))
    assert files_below(copied) == before


def change_configuration(run: Path, section: str, name: str, value: object) -> None:
    saved = json.loads((run / "config.json").read_text())
    saved["config"][section][name] = value
    (run / "config.json").write_text(json.dumps(saved))


def test_a_run_without_a_checkpoint_cannot_write(copied: Path) -> None:
    (copied / "weights.safetensors").unlink()
    for path in (copied / "checkpoints").iterdir():
        path.unlink()
    assert_explained(call("generate", copied), Case((), ("No checkpoint at", "start it again")))


CONFIGURATIONS: dict[str, tuple[Edit, tuple[str, ...]]] = {
    "no JSON": (["cut", 1], ("config.json cannot be read", "line 1 column 2")),
    "without a version": (
        ["remove_value", "all", ["format_version"]],
        ("another version of mlx_tiny", f"Expected format {FORMAT_VERSION}"),
    ),
    "another version": (["set_value", "all", ["format_version"], "7"], (f"Expected format {FORMAT_VERSION}, got 7",)),
    "unknown section": (
        ["set_value", "all", ["config", "extra"], "{}"],
        ("Unknown key config.extra in the run configuration", "Expected one of data, model"),
    ),
    "unknown key": (
        ["set_value", "all", ["config", "model", "depth"], "3"],
        ("Unknown key config.model.depth in the run", "another version"),
    ),
    "wrong type": (
        ["set_value", "all", ["config", "model", "layers"], '"two"'],
        ("model.layers has the wrong type", "Expected int, got 'two'"),
    ),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_malformed_configuration_is_explained(name: str, copied: Path) -> None:
    edit, words = CONFIGURATIONS[name]
    apply(copied / "config.json", edit)
    assert_explained(call("generate", copied), Case((), words))


@pytest.mark.parametrize("content", [None, b"no tokenizer"])
def test_a_lost_or_damaged_tokenizer_is_explained(copied: Path, content: bytes | None) -> None:
    path = copied / "tokenizer.model"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    words = "No tokenizer at" if content is None else "is not the tokenizer with which"
    assert_explained(call("generate", copied), Case((), (words,)))


def test_the_tokenizer_of_another_run_is_refused(copied: Path) -> None:
    (copied / "tokenizer.model").write_bytes(ByteTokenizer().model)
    before = everything(copied.parent)
    for command in (
        ("generate", copied),
        ("eval", copied, "notes.txt"),
        ("train", "--from", copied, "--data", "notes.txt", "--run", "new"),
        ("train", "--resume", copied, "--budget", "20ktok"),
    ):
        assert_explained(call(*command), Case((), ("is not the tokenizer", "Expected the hash", "Restore it")))
    assert everything(copied.parent) == before


@pytest.mark.parametrize("name", ["metrics.jsonl", "report.json", "weights.safetensors"])
def test_what_cannot_be_replaced_leaves_a_resumed_run_as_it_was(name: str, copied: Path) -> None:
    apply(copied / name, ["replace", "folder"])
    before = files_below(copied)
    finished = call("train", "--resume", copied, "--budget", "20ktok")
    assert_explained(finished, Case((), (f"{copied / name} is not an ordinary file",)))
    assert files_below(copied) == before


@pytest.mark.parametrize("budget", ["5parsec", "", "-1s", "5kJ", "1e300h", "1e99tok"])
def test_a_bad_budget_leaves_a_resumed_run_as_it_was(copied: Path, budget: str) -> None:
    before = files_below(copied)
    finished = call("train", "--resume", copied, "--budget", budget)
    assert_explained(finished, Case((), (repr(budget),)))
    assert files_below(copied) == before


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Make the system refuse files larger than `size` bytes, at the moments at which a disk could be full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_previous_checkpoint_whole(copied: Path) -> None:
    change_configuration(copied, "train", "compile", False)  # which writes files of its own
    last = copied / "checkpoints" / "last.safetensors"
    before, report = last.read_bytes(), read_report(copied)
    further = ("train", "--resume", copied, "--budget", f"{report['tokens'] + 500}tok")
    prepare(RunFolder(copied).config.data)  # before the disk is full
    before = last.read_bytes()
    with files_up_to(len(before) // 2):
        finished = call(*further)
    assert_explained(
        finished, Case((), ("larger than files may be", f"{copied}", "what was there before is untouched"))
    )
    assert last.read_bytes() == before
    assert not [name for name in files_below(copied) if name.rpartition("/")[2].startswith(".")]
    resumed = succeeded(call(*further))
    assert f"resumed at step {report['steps']}, " in resumed.err
    assert read_report(copied)["steps"] == report["steps"] + 4


def test_a_full_disk_during_preparation_leaves_nothing(place: Path) -> None:
    before = everything(place)
    with files_up_to(20_000):
        finished = call(*NOTES, *FEW_PAUSES)
    assert_explained(finished, Case((), ("larger than files may be", "ulimit -f")))
    assert everything(place) == before


def test_metrics_of_another_run_are_noticed(copied: Path) -> None:
    metrics = copied / "metrics.jsonl"
    sound = metrics.read_text()
    told = "lacks steps of this run, or has those of another"
    for changed in (sound.replace('"loss": ', '"loss": 1'), sound[sound.index("\n") + 1 :], sound):
        metrics.write_text(changed)
        (copied / "report.json").unlink(missing_ok=True)  # so that it is written again, without a step
        assert (told in succeeded(call("train", "--resume", copied)).err) == (changed != sound)


def test_a_missing_best_checkpoint_is_no_end(copied: Path) -> None:
    (copied / "checkpoints" / "best.safetensors").unlink()
    refused = call("train", "--resume", copied, "--resume-from", "best", "--budget", "20ktok")
    assert_explained(refused, Case((), ("No checkpoint at", "The last checkpoint, of step")))
    assert "--resume-from" not in refused.err


def test_files_that_may_not_be_read_are_not_called_damaged(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, *arguments: Any) -> Any:
        if Path(path).name == unreadable:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open(path, *arguments)

    monkeypatch.setattr("mlx_tiny.training.arrays.open", refuse, raising=False)
    unreadable = "weights.safetensors"
    assert_explained(call("generate", copied), Case((), ("No permission for", unreadable)))
    unreadable = "last.safetensors"
    refused = call("train", "--resume", copied)
    assert_explained(refused, Case((), ("No permission for", unreadable)))
    told = succeeded(call("generate", copied)).err
    assert "No permission for" in told and "damaged" not in told and "--resume" not in refused.err


def test_a_run_that_could_not_save_takes_no_step(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, dir: Any = None, **named: Any) -> Any:
        if Path(dir).name == "checkpoints":
            raise PermissionError(errno.EACCES, "Permission denied", str(dir))
        return sound(*arguments, dir=dir, **named)

    sound, before = tempfile.TemporaryFile, files_below(copied)
    monkeypatch.setattr("mlx_tiny.files.tempfile.TemporaryFile", refuse)
    refused = call("train", "--resume", copied, "--budget", "20ktok")
    assert_explained(refused, Case((), ("last.safetensors cannot be written", "Permission denied")))
    assert files_below(copied) == before
