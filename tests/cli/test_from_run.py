"""A run that starts from another one: its weights, its tokenizer, and what is learned and forgotten."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlx_tiny.cli import from_run, session
from mlx_tiny.cli.options import SECTIONS, user_settings
from mlx_tiny.cli.repeat import command_to_repeat
from mlx_tiny.config import DataConfig, OptimizerConfig, TrainConfig
from mlx_tiny.config.presets import usual
from mlx_tiny.records import Origin
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.origin import learned_texts

from .command_line import FEW_PAUSES, call, crash, files_below, read_metrics, read_report, succeeded

BUDGET = ("--budget", "1500tok", *FEW_PAUSES)


@pytest.fixture
def source(trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run with its prepared data, beside numbers.txt, another text."""
    monkeypatch.setenv("MLX_TINY_HOME", str(place / "home"))
    shutil.copytree(trained.parent / "home", place / "home")
    lines = [f"{n} and {n + 1} are {2 * n + 1}. Größer ist {n * n}." for n in range(400)]
    (place / "numbers.txt").write_text("\n<|endoftext|>\n".join(lines))
    return trained


def begin(source: Path, *flags: str, run: str = "new") -> str:
    return succeeded(call("train", "--from", source, "--data", "numbers.txt", *BUDGET, "--run", run, *flags)).err


def test_the_model_learns_another_text_and_the_report_shows_what_it_forgot(source: Path, place: Path) -> None:
    said = begin(source)
    old, new = read_report(source), read_report(place / "new")
    assert f"starts from the weights of {source}, step {old['steps']}" in said
    own, other = new["texts"]
    assert other["before"] == pytest.approx(old["bits_per_byte"]) and other["bits_per_byte"] > other["before"]
    assert other["fingerprint"] == old["evaluation_fingerprint"] and own["bits_per_byte"] == new["bits_per_byte"]
    assert own["bits_per_byte"] < own["before"] and "numbers.txt" in own["text"]
    losses = [record["loss"] for record in read_metrics(place / "new") if record["kind"] == "step"]
    assert len(losses) == new["steps"] == 12
    assert (place / "new/tokenizer.model").read_bytes() == (source / "tokenizer.model").read_bytes()
    origin, run = new["origin"], RunFolder(place / "new")
    assert (origin["run"], origin["step"]) == (str(source), old["steps"])
    assert origin["tokenizer"] == run.corpus.tokenizer and isinstance(run.origin, Origin)
    assert run.config.model == RunFolder(source).config.model
    assert run.config.optimizer == RunFolder(source).config.optimizer
    text = (place / "new/report.md").read_text()
    assert f"before: {other['before']:.4f}" in text and f"before: {own['before']:.4f}" in text


def test_the_command_to_repeat_names_what_the_other_run_has_otherwise(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "train", lambda *_, **__: None)
    begin(source, "--learning-rate", "0.001", "--batch-size", "8", run="first")
    standard = usual(RunFolder(source).config.train.preset)
    as_preset = ("--head-rate", str(standard.optimizer.head_rate), "--batch-size", str(standard.train.batch_size))
    RunFolder(place / "first").save_weights(RunFolder(source).load_weights(), 0)
    succeeded(call("train", "--from", "first", "--data", "numbers.txt", *BUDGET, "--run", "new", *as_preset))
    repeated = shlex.split(command_to_repeat(run := RunFolder(place / "new")))
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    succeeded(call(*repeated[1:], "--run", "again"))
    assert RunFolder(place / "elsewhere/again").config == run.config


def test_another_split_of_the_same_text_is_warned_of(source: Path, place: Path) -> None:
    def split(run: Path, held_out: str, new: str) -> tuple[str, dict[str, Any], str]:
        flags = ("--data", source.parent / "notes.txt", "--held-out", held_out, *BUDGET, "--run", new)
        said = succeeded(call("train", "--from", run, *flags)).err
        return said, read_report(place / new), (place / new / "report.md").read_text()

    # What the first run holds out is part of what this one holds out; the rest of it was trained on.
    said, report, text = split(source, "0.3", "more")
    origin, old = report["origin"], report["texts"][1]
    number = origin["learned_documents"]
    words = f"{number:,} of the {origin['validation_documents']:,} validation documents were trained on"
    assert number > 50 and words in said and words in text
    assert old["learned_documents"] == 0 and "not trained on" in text
    # The other way round the old validation text is trained on now.
    said, report, text = split(place / "more", str(DataConfig().held_out), "less")
    old = report["texts"][1]
    assert report["origin"]["learned_documents"] == 0 and "were trained on" not in said + text
    assert old["learned_documents"] == number and f"trained on {number} of the {old['documents']}" in text
    assert "not trained on" not in text
    assert len(learned_texts(RunFolder(place / "less"))) == 3, "its own text and those of both runs before"


def test_text_that_the_gate_should_not_know_is_warned_of(source: Path, place: Path) -> None:
    flags, warned = ("--data", source.parent / "notes.txt", *BUDGET, "--run"), []
    for run, new, more in ((source, "one", ["--no-counting"]), (place / "one", "two", []), (source, "three", [])):
        said = succeeded(call("train", "--from", run, *flags, new, *more)).err
        warned.append("trusted too much" in said)
    assert warned == [False, True, False]


@pytest.mark.parametrize("steps", [0, 5])
def test_a_crash_changes_nothing_even_without_the_other_run(source: Path, place: Path, steps: int) -> None:
    begin(source, run="whole")
    copy = shutil.copytree(source, place / "copy")
    with crash(steps, checkpoint=steps > 0):
        begin(copy)
    shutil.rmtree(copy)
    succeeded(call("train", "--resume", "new"))
    whole, broken = (RunFolder(place / name).load_weights() for name in ("whole", "new"))
    assert all(np.array_equal(np.array(whole[name]), np.array(broken[name])) for name in whole)
    assert [text["before"] for text in read_report(place / "new")["texts"]] == [
        text["before"] for text in read_report(place / "whole")["texts"]
    ]


@pytest.mark.parametrize(
    "flag", ["--layers 3", "--vocabulary-size 600", "--tokenizer bytes", "--preset mini", "--tied"]
)
def test_a_flag_that_contradicts_the_model_is_refused(source: Path, place: Path, flag: str) -> None:
    finished = call("train", "--from", source, "--data", "numbers.txt", "--run", "new", *flag.split())
    assert (finished.code, finished.out) == (1, "") and f"Leave {flag.split()[0]} out" in finished.err
    assert not (place / "new").exists()


def test_a_text_that_is_gone_is_said_and_given_rates_are_taken(source: Path, place: Path) -> None:
    shutil.rmtree(place / "home")
    said = begin(source, "--matrix-rate", "0.5", "--layers", "2", "--batch-size", "2", "--preset", "tiny")
    report = read_report(place / "new")
    assert report["config"]["train"]["preset"] == "strongest-tiny"
    assert "is not known whether" in said and "is not known whether" in (place / "new/report.md").read_text()
    assert "is not in the cache" in said and "is not in the cache" in (place / "new/report.md").read_text()
    assert [text["text"] for text in report["texts"]] == [report["data"]]
    optimizer = report["config"]["optimizer"]
    assert (optimizer["matrix_rate"], optimizer["head_rate"]) == (0.5, OptimizerConfig().head_rate)
    # A run that started from another one passes on its own settings, and its text is there.
    assert "is not known whether" in begin(place / "new", run="third"), "the text of the first run is still gone"
    third = read_report(place / "third")
    assert third["config"]["optimizer"] == optimizer and len(third["texts"]) == 1


def test_a_run_without_its_first_checkpoint_does_not_start_from_random_weights(source: Path, place: Path) -> None:
    begin(source)
    (place / "new/checkpoints/last.safetensors").unlink()
    (place / "new/weights.safetensors").unlink()
    before = files_below(place / "new")
    finished = call("train", "--resume", "new", "--budget", "9ktok")
    assert finished.code == 1 and "No checkpoint at" in finished.err
    assert files_below(place / "new") == before


def test_roles_that_the_tokenizer_lacks_are_said(source: Path, place: Path) -> None:
    messages = '[{"role": "user", "content": "How are you %d?"}, {"role": "assistant", "content": "Well, thank you."}]'
    (place / "chats.jsonl").write_text("".join(f'{{"messages": {messages % n}}}\n' for n in range(100)))
    said = succeeded(call("train", "--from", source, "--data", "chats.jsonl", *BUDGET, "--run", "new")).err
    assert "no symbol for the roles assistant, user" in said and "spelled" in said


def test_budget_and_schedule_are_not_those_of_the_other_run(source: Path) -> None:
    flags = {section: user_settings({}, section) for section in SECTIONS}
    config, _ = from_run._planned(RunFolder(source), flags)
    assert (config.train.budget, config.train.batch_size) == (TrainConfig().budget, 4)
    assert config.schedule == usual(config.train.preset).schedule and config.data.sources == DataConfig().sources


def test_a_text_must_be_named(source: Path, place: Path) -> None:
    finished = call("train", "--from", source, "--budget", "500tok", "--run", "new")
    assert finished.code == 1 and "--data" in finished.err and not (place / "new").exists()


def test_resume_and_from_exclude_each_other(source: Path) -> None:
    assert call("train", "--from", source, "--resume", source).code == 2
