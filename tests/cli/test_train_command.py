from __future__ import annotations

import dataclasses
import fcntl
import importlib.util
import json
import math
import os
import pty
import re
import select
import shlex
import shutil
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from mlx_tiny.cli import session
from mlx_tiny.cli.display import Display
from mlx_tiny.cli.header import _budget
from mlx_tiny.cli.options import SECTIONS, flag_name
from mlx_tiny.cli.repeat import command_to_repeat
from mlx_tiny.config.presets import preset_called
from mlx_tiny.data.tokenizer import load_tokenizer
from mlx_tiny.data.tokenizers.byte_pair import BytePairTokenizer
from mlx_tiny.errors import printable
from mlx_tiny.model import options
from mlx_tiny.records import to_plain
from mlx_tiny.training import tracking
from mlx_tiny.training.checkpoint import RunFolder

from .command_line import (
    FEW_PAUSES,
    MODULE,
    STEP_TOKENS,
    TINY,
    Finished,
    call,
    environment,
    files_below,
    read_metrics,
    read_report,
    succeeded,
    workplace,
    write_notes,
)

RUN_FILES = {
    "config.json",
    "tokenizer.model",
    "metrics.jsonl",
    "checkpoints/best.safetensors",
    "checkpoints/last.safetensors",
    "weights.safetensors",
    "counting.safetensors",
    "documents.safetensors",
    "report.json",
    "report.md",
}
TRAIN = ("train", "--data", "notes.txt", *TINY)


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run with its output."""

    folder: Path
    finished: Finished
    report: dict[str, Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with workplace(tmp_path_factory.mktemp("run")) as folder:
        write_notes(folder / "notes.txt")
        finished = succeeded(call(*TRAIN, "--budget", "3000tok", "--run", "r", "--no-tied"))
    return Run(folder / "r", finished, read_report(folder / "r"))


@pytest.fixture
def own_run(run: Run, place: Path) -> Path:
    """A copy of the run that the test may change; it uses the data of the original."""
    return Path(shutil.copytree(run.folder, place / "r"))


def test_a_run_leaves_its_files_and_no_others(run: Run) -> None:
    drawn = {"loss.png"} if importlib.util.find_spec("matplotlib") else set()
    assert set(files_below(run.folder)) == RUN_FILES | drawn


def test_a_budget_of_tokens_is_spent_and_reported(run: Run) -> None:
    report, records = run.report, read_metrics(run.folder)
    checks = [r["validation_bits_per_byte"] for r in records if r["kind"] == "evaluation"]
    assert len(checks) == 4 and report["bits_per_byte"] < checks[0], "it has learned something"
    assert abs(report["tokens"] - 3000) <= STEP_TOKENS / 2 and report["steps"] * STEP_TOKENS == report["tokens"]
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, report["steps"] + 1))
    assert 1e7 < report["peak_memory_bytes"] < 1e10 and report["utilisation"] > 0 and len(report["samples"]) == 3
    # A vocabulary of 512 learned from this text: no token is worse than uniform, and none is certain.
    assert 1 < report["perplexity_per_token"] < 512
    assert {"prepare data", "compile and warm up", "training", "evaluation"} <= report["phases_s"].keys()
    assert sum(report["phases_s"].values()) == pytest.approx(report["wall_s"])
    assert all(seconds >= 0 for seconds in report["phases_s"].values())
    assert report["phases_s"]["other"] < 0.1 * report["wall_s"], "every phase has a name"
    shown = run.finished.results()
    assert shown["bits_per_byte"] == f"{report['bits_per_byte']:.4f}" and shown["run"] == "r"


def test_only_the_result_is_on_stdout(run: Run) -> None:
    sample = printable(run.report["samples"][0]).strip()
    label, _, block = run.finished.out.partition(f"\n\n{sample}\n\n")
    assert "model has written" in label and block.startswith("bits_per_byte: ")
    assert all(re.fullmatch(r"[a-z_]+: \S.*", line) for line in block.splitlines())


def test_the_first_line_names_the_data_and_the_rest_is_plain(run: Run) -> None:
    lines = run.finished.err.splitlines()
    assert lines[0].startswith(f"data: own text: {run.folder.parent / 'notes.txt'} (1 file, ")
    assert "\r" not in run.finished.err + run.finished.out
    assert sum("validation" in line and "bits per byte" in line for line in lines) == 4
    assert sum(line.endswith("a sample:") for line in lines) == 3


def header_of(finished: Finished) -> dict[str, str]:
    """The lines of the header by their names."""
    lines = finished.err.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("run: "))
    return dict(line.split(": ", 1) for line in lines[start : start + 6])


def test_the_header_has_five_lines_and_the_settings_that_are_not_the_presets(run: Run) -> None:
    header = header_of(run.finished)
    assert list(header)[:6] == ["run", "preset", "model", "tokens", "machine", "unlike the preset"]
    assert max(map(len, header.values())) < 400
    assert header["run"] == "r, with a budget of 3000tok" and header["preset"] == "strongest-tiny (as asked)"
    *shown_settings, rest = re.split(r"[,;] ", header["unlike the preset"])
    assert rest == "all settings are in r/config.json"
    saved = json.loads((run.folder / "config.json").read_text())["config"]
    preset = to_plain(preset_called("tiny").config())
    changed = {
        flag_name(section, name)[2:]
        for section, settings in saved.items()
        for name, value in settings.items()
        if value != preset[section][name] and name != "budget" and (section, name) != ("model", "vocabulary_size")
    }
    assert "not portable: bigram_embedding" in header["model"]
    assert "batch-size 4" in shown_settings and f"vocabulary {saved['model']['vocabulary_size']:,}" in header["model"]
    assert {setting.partition(" ")[0] for setting in shown_settings} == changed


def test_a_budget_of_time_says_what_it_leaves_out() -> None:
    assert "of training" in _budget("5m") and _budget("20Mtok") == "20Mtok"


def test_a_text_in_few_words_trains_with_the_vocabulary_that_it_supports(place: Path) -> None:
    (place / "digits.txt").write_text(
        "".join(f"{number % 7} + {number % 3} = {number % 7 + number % 3}\n\n" for number in range(900))
    )
    small = ("--preset", "tiny", "--context", "32", "--batch-size", "4", "--budget", "300tok")
    finished = succeeded(call("train", "--data", "digits.txt", *small, *FEW_PAUSES, "--run", "r"))
    size = RunFolder(place / "r").config.model.vocabulary_size
    assert 270 < size < 1024 and f"vocabulary: {size} tokens" in finished.err
    assert load_tokenizer(RunFolder(place / "r").tokenizer_model).size == size
    assert len(succeeded(call("generate", "r", "--prompt", "12+1", "--max-tokens", "5")).out) > 4


@pytest.mark.torch
def test_given_flags_reach_the_saved_configuration(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting with a value that is not its default; nothing is trained."""
    values: dict[str, dict[str, Any]] = {
        "data": {"sources": ["notes.txt", "more.txt"], "validation": "other.txt", "text_column": "2"}
        | {"header": False, "documents": "lines", "suffix": [".txt"], "include": ["more.txt"]}
        | {"vocabulary_size": 270, "tokenizer": "characters"},
        "model": {"activation": "swiglu", "context": 40, "width": 48, "heads": 6, "key_value_heads": 3, "layers": 1}
        | {"rope_base": 500.0, "head_width": 8, "hidden": 96, "tied": True, "options": "idea=15"},
        "optimizer": {"matrix_optimizer": "adamw", "coefficients": "quintic", "newton_schulz_steps": 3},
        "schedule": {"warmup": 0.1, "cooldown": 0.2, "floor": 0.05, "rate_at": "beginning"},
        "train": {
            "budget": "1e9flop",
            "preset": "strongest-mini",
            "order": "documents",
            "dtype": "bfloat16",
            "compile": False,
            "counting": False,
            "micro_batches": 3,
            "measured_bytes": "5000",
            "track": "tensorboard",
        }
        | {"batch_size": 6, "backend": "torch", "implementation": "plain"},
    }
    flags: list[str] = []
    for section, kind in SECTIONS.items():
        for field in dataclasses.fields(kind):
            if (section, field.name) in (("model", "vocabulary_size"), ("data", "schema")):
                continue
            if field.name not in values[section]:
                values[section][field.name] = field.default * (0.5 if isinstance(field.default, float) else 3) + (
                    field.default == 0
                )
            value = values[section][field.name]
            flag = flag_name(section, field.name)
            if isinstance(value, bool):
                flags.append(flag if value else flag.replace("--", "--no-"))
            else:
                flags += [
                    word for item in (value if isinstance(value, list) else [value]) for word in (flag, str(item))
                ]
    values["model"]["vocabulary_size"] = 270
    values["data"] |= {
        "sources": [str(place / "notes.txt"), str(place / "more.txt")],
        "validation": str(place / "other.txt"),
        "schema": None,  # takes a table
    }
    write_notes(place / "more.txt", 20)
    write_notes(place / "other.txt", 20)
    monkeypatch.setattr(session, "train", lambda *_, **__: None)
    monkeypatch.setattr(session, "backend_kind", lambda *_: None)
    monkeypatch.setattr(tracking, "require_tracker", lambda *_: None)
    monkeypatch.setattr(options, "all_options", lambda: {"idea": options.Option("", valid=lambda *_: None)})
    succeeded(call("train", "--run", "r", *flags))
    assert json.loads((place / "r" / "config.json").read_text())["config"] == values
    repeated = shlex.split(command_to_repeat(run := RunFolder(place / "r")))
    succeeded(call(*repeated[1:], "--run", "again"))
    assert RunFolder(place / "again").config == run.config


@pytest.mark.parametrize(
    "asked",
    [
        "--activation relu2 --hidden 168",  # what swiglu would have
        "--layers 1 --options smear=1,bigram_embedding=8192,value_embeddings=1",
        "--layers 3 --options smear=1,bigram_embedding=8192,value_embeddings=2",  # what two layers would have
        "--tied --embedding-rate 0.6",
        "--vocabulary-size 1024",  # of so few words, a smaller one is made where none is named
    ],
)
def test_the_command_names_what_would_be_otherwise_without_a_flag(
    asked: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "train", lambda *_, **__: None)
    (place / "words.txt").write_text("\n\n".join(f"a tale {number} of {number % 7}" for number in range(3000)))
    text = ("--data", "words.txt", "--preset", "tiny", "--iters", "3")
    succeeded(call("train", *text, *asked.split(), "--run", "r"))
    repeated = shlex.split(command_to_repeat(run := RunFolder(place / "r")))
    succeeded(call(*repeated[1:], "--run", "again"))
    assert RunFolder(place / "again").config == run.config


def test_without_a_name_a_run_is_called_by_the_time(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "train", lambda *_, **__: None)
    before = time.strftime("%Y%m%d-%H%M%S")
    succeeded(call(*TRAIN, "--budget", "1ktok"))
    (found,) = (place / "runs").iterdir()
    assert before <= found.name <= time.strftime("%Y%m%d-%H%M%S")


def test_generated_stories_are_the_default_and_have_a_floor_and_an_excess(place: Path) -> None:
    sizes = ("--train-bytes", "200000", "--validation-bytes", "20000")
    finished = succeeded(call("train", *TINY, *sizes, *FEW_PAUSES, "--budget", "1000tok", "--run", "r"))
    report, shown = read_report(place / "r"), finished.results()
    assert finished.err.startswith("data: stories: generated, 200 kB for training and 20 kB for validation")
    assert report["config"]["data"]["sources"] == ["stories"], "what `auto` meant"
    floor, excess = report["entropy_floor_bits_per_byte"], report["excess_bits_per_byte"]
    assert 0 < floor < report["bits_per_byte"] and excess == pytest.approx(report["bits_per_byte"] - floor)
    assert (shown["entropy_floor"], shown["excess"]) == (f"{floor:.4f}", f"{excess:.4f}")


def test_the_same_data_is_prepared_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded(call(*TRAIN, *FEW_PAUSES, "--budget", "300tok", "--run", "first"))
    before = {path: path.stat().st_mtime_ns for path in (place / "home").rglob("*")}
    monkeypatch.setattr(BytePairTokenizer, "train", lambda *_: pytest.fail("a second tokenizer is trained"))
    succeeded(call(*TRAIN, *FEW_PAUSES, "--budget", "300tok", "--run", "again", "--width", "64"))
    assert {path: path.stat().st_mtime_ns for path in (place / "home").rglob("*")} == before
    # Opening takes a few milliseconds, hashing the text included.
    assert read_report(place / "again")["phases_s"]["prepare data"] < 0.5


def test_a_finished_run_goes_on_with_a_larger_budget(own_run: Path) -> None:
    first = read_report(own_run)
    finished = succeeded(call("train", "--resume", own_run, "--budget", "3600tok"))
    report = read_report(own_run)
    assert f"resumed at step {first['steps']}, after {first['tokens']:,} tokens" in finished.err
    assert abs(report["tokens"] - 3600) <= STEP_TOKENS / 2 < report["tokens"] - first["tokens"]
    assert header_of(finished)["run"].endswith("budget of 3600tok")
    assert report["seconds"] > first["seconds"]
    assert report["budget"] == "3600tok" and "3600tok" in (own_run / "report.md").read_text()
    records = read_metrics(own_run)
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, report["steps"] + 1))
    assert [r["step"] for r in records if r["kind"] == "final"] == [report["steps"]]
    earlier = f"budget {first['budget']} until step {first['steps']}"
    assert (first["earlier"], report["earlier"]) == ([], [earlier])
    assert f"{earlier}: no single command" in (own_run / "report.md").read_text()


def test_a_run_resumed_in_another_folder_finds_its_data(
    own_run: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    succeeded(call("train", "--resume", own_run, "--budget", "3200tok"))


def test_a_resumed_run_keeps_its_settings(own_run: Path) -> None:
    before = files_below(own_run)
    for other in ("--batch-size 8", "--data notes.txt", "--no-compile", "--run other", "--vocabulary-size 512"):
        finished = call("train", "--resume", own_run, *other.split(), "--budget", "9000tok")
        assert (finished.code, finished.out) == (2, ""), other
        assert "only --budget, --backend, --implementation and --track go with it" in finished.err
    assert files_below(own_run) == before


def test_an_interrupted_run_is_saved_and_goes_on(place: Path) -> None:
    settings = ["--samples", "0", "--evaluations", "500", "--evaluation-tokens", "64", "--checkpoints", "0"]
    process = subprocess.Popen(
        [*MODULE, *TRAIN, *settings, "--budget", "9000000tok", "--run", "runs/my notes"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert any("step 1 " in line for line in process.stderr), "no step was taken"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert [line for line in err.splitlines() if "Interrupted" in line and "SIGINT" in line]
    run = place / "runs" / "my notes"
    report = read_report(run)
    assert report["interrupted"] is True and report["evaluated_whole_file"] is False
    assert report["interrupted_by"] == "SIGINT" and "by SIGINT" in (run / "report.md").read_text()
    assert RUN_FILES - {"checkpoints/best.safetensors", "documents.safetensors"} <= set(files_below(run))
    assert not [name for name in files_below(run) if name.rpartition("/")[2].startswith(".")]
    assert (out + err).count("nterrupted") == 2, "at once, and in the results"
    (line,) = [line for line in out.splitlines() if "To continue: " in line]
    assert Finished(0, out, err).results()["run"] == "runs/my notes"
    command = shlex.split(line.partition("To continue: ")[2])
    arguments = command[len(MODULE) :]
    assert command[: len(MODULE)] == MODULE and arguments == ["train", "--resume", "runs/my notes"]
    succeeded(call(*arguments, "--budget", f"{report['tokens'] + 4 * STEP_TOKENS}tok"))
    assert read_report(run)["steps"] == report["steps"] + 4 and read_report(run)["interrupted"] is False


def on_terminal(columns: int) -> str:
    """Everything that a run shows on a terminal of this width; 0 means an unknown width."""
    terminal, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*MODULE, *TRAIN, *FEW_PAUSES, "--budget", "6000tok", "--run", "r"],
        env=environment(),
        stdout=inner,
        stderr=inner,
        stdin=subprocess.DEVNULL,
    )
    os.close(inner)
    try:
        shown = read_terminal(terminal, limit_s=60)
        assert process.wait(timeout=10) == 0, shown
    finally:
        process.kill()
        os.close(terminal)
    return shown.replace("\r\n", "\n")


def test_on_a_terminal_a_bar_is_drawn() -> None:
    shown = on_terminal(columns=120)
    bars = re.findall(r"\r *(\d+)%\|[^|\r\n]*\| loss [0-9.]+ [^\r\n]*tok/s  mfu \d+%", shown)
    assert len(set(bars)) > 1 and bars == sorted(bars, key=int) and int(bars[-1]) <= 100
    after = shown.rpartition("%|")[2].rpartition("\r")[2]
    assert "\nbits_per_byte: " in after and after.endswith("run: r\n")


def test_a_terminal_of_unknown_width_gets_plain_lines() -> None:
    shown = on_terminal(columns=0)
    assert "\r" not in shown and "  step 1  loss " in shown and shown.endswith("run: r\n")


def test_what_a_young_model_writes_does_not_reach_the_terminals_controls(capsys: pytest.CaptureFixture[str]) -> None:
    Display(1.0, 1.0, interactive=False).sample(0.5, "one\x1b[2Jtwo\x07three\x08 \x9bé…🙂\n")
    assert capsys.readouterr().err == " 50.0%  a sample:\n    one\ufffd[2Jtwo\ufffdthree\ufffd \ufffdé…🙂\n"


def test_a_sample_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    Display(1.0, 1.0, interactive=False).sample(0.5, f"ROMEO:\nO, {'very ' * 30}well.\n\n  JULIET:\n")
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "    ROMEO:" and lines[2].startswith("    O, very") and lines[3].startswith("    very")
    assert lines[4:] == ["", "      JULIET:"]


def read_terminal(terminal: int, limit_s: float) -> str:
    """Everything that appears until the terminal is closed."""
    parts, until = [], time.monotonic() + limit_s
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:  # Linux tells the end so
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts).decode()


def test_perplexity_and_bits_per_byte_are_of_one_measurement(run: Run) -> None:
    report = run.report
    final = [r for r in read_metrics(run.folder) if r["kind"] == "final"]
    assert [r["final_bits_per_byte"] for r in final] == [report["bits_per_byte"]]
    bits_per_token = math.log2(report["perplexity_per_token"])
    bytes_per_token = bits_per_token / report["bits_per_byte"]
    # Pieces of one byte (the alphabet) at the least, whole words at the most.
    assert 1 < bytes_per_token < 8
    (shown,) = re.findall(r"([0-9.]+) bytes per token", run.finished.err)
    assert bytes_per_token == pytest.approx(float(shown), abs=0.005)
