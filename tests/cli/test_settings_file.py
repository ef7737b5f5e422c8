"""`--config`, `--iters` and `--learning-rate`: what they come to, and what is refused. Nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from mlx_tiny.cli import cli, session

from .cases import USAGE, USER, Case, assert_explained
from .command_line import call, succeeded

SETTINGS = """
budget: 1ktok
preset: tiny
data: [notes.txt, more.txt]
learning-rate: 1e-3    # YAML itself takes this for a text
vocabulary_size: 400
counting: no
options: ""
model:
  context: 32
run: from file
"""


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "train", lambda *_, **__: None)


@pytest.fixture
def file(place: Path) -> Path:
    (place / "more.txt").write_bytes((place / "notes.txt").read_bytes().replace(b"Story", b"Tale"))
    (place / "settings.yaml").write_text(SETTINGS)
    return place / "settings.yaml"


def config_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "config.json").read_text())["config"])


def test_a_file_gives_options_and_flags_win(file: Path, place: Path) -> None:
    succeeded(call("train", "--config", file))
    config = config_of(place / "from file")
    assert config["data"]["sources"] == [str(place / name) for name in ("notes.txt", "more.txt")]
    assert (config["train"]["budget"], config["train"]["counting"]) == ("1ktok", False)
    assert (config["model"]["context"], config["model"]["options"]) == (32, "")
    assert config["optimizer"]["matrix_adamw_rate"] == 1e-3
    flags = ("--data", "notes.txt", "--iters", "7", "--counting", "--max-seq-length", "16", "--run", "r")
    succeeded(call("train", *flags, "-c", file))
    other = config_of(place / "r")
    assert other["data"]["sources"] == [str(place / "notes.txt")], "a list is replaced, not lengthened"
    assert (other["train"]["budget"], other["train"]["counting"], other["model"]["context"]) == ("7steps", True, 16)
    assert other["optimizer"] == config["optimizer"]


@pytest.mark.parametrize("asked", ["--activation relu2 --layers 1 --learning-rate 0.01", "--vocabulary-size 300"])
def test_the_settings_of_a_run_are_repeated(asked: str, place: Path) -> None:
    succeeded(call("train", "--data", "notes.txt", "--preset", "tiny", *asked.split(), "--run", "r"))
    for name in ("r", "r/config.json"):
        succeeded(call("train", "--config", name, "--run", f"again {len(name)}"))
        assert config_of(place / f"again {len(name)}") == config_of(place / "r")


def test_the_dial_turns_the_rates_of_a_run_that_no_flag_names(place: Path) -> None:
    run = ("--data", "notes.txt", "--preset", "tiny", "--iters", "3")
    succeeded(call("train", *run, "--learning-rate", "0.001", "--embedding-rate", "0.5", "--run", "r"))
    flags = ("--learning-rate", "0.002", "--head-rate", "0.07")
    succeeded(call("train", "--config", "r", *flags, "--run", "turned"))
    before, after = (config_of(place / name)["optimizer"] for name in ("r", "turned"))
    assert (after["matrix_adamw_rate"], after["head_rate"]) == (0.002, 0.07)
    for name in ("matrix_rate", "embedding_rate", "scalar_rate"):
        assert after[name] == pytest.approx(2 * before[name], rel=1e-4)
    (place / "rates.yaml").write_text("preset: tiny\nhead-rate: 0.07")
    succeeded(call("train", "--config", "rates.yaml", *run, "--learning-rate", "0.006", "--run", "named"))
    own = config_of(place / "named")["optimizer"]
    assert (own["matrix_adamw_rate"], own["matrix_rate"], own["head_rate"]) == (0.006, 0.04, 0.07)


def test_another_preset_than_that_of_the_run_is_refused(place: Path) -> None:
    succeeded(call("train", "--data", "notes.txt", "--preset", "tiny", "--iters", "3", "--run", "r"))
    succeeded(call("train", "--config", "r", "--preset", "strongest-tiny", "--run", "same"))
    refused = call("train", "--config", "r", "--preset", "mini", "--run", "other")
    assert refused.code == USAGE and "strongest-tiny" in refused.err and not (place / "other").exists()


@pytest.mark.parametrize(
    ("text", "words", "code"),
    [
        ("bugdet: 5m", ("Unknown setting bugdet", "Expected budget"), USER),
        ("model: {layer: 3}", ("Unknown setting model.layer", "layers"), USER),
        ("model: {vocabulary_size: 300}", ("Unknown setting model.vocabulary_size",), USER),
        ("help: true", ("Unknown setting help",), USER),
        ("config: other.yaml", ("Unknown setting config",), USER),
        ("budget: 5m\nbudget: 6m", ("Line 2", "occurs twice"), USER),
        ("context: 3\nmodel: {context: 4}", ("context and model.context are the same",), USER),
        ("budget: [5m, 6m]", ("budget is not a single value",), USER),
        ("data: {sources: {a: b}}", ("data.sources is not a single value",), USER),
        ("- budget", ("is malformed", "budget: 5m"), USER),
        ("", ("is malformed",), USER),
        ("budget: [", ("Line 1", "not valid YAML"), USER),
        ("layers: many", ("'--layers'", "'many' is not a valid integer"), USAGE),
        ("compile: perhaps", ("perhaps", "boolean"), USAGE),
        ("iters: 3\nbudget: 5m", ("--iters", "--budget"), USAGE),
        ("budget: 5", ("'5' has no unit",), USER),
        ('{"format_version": 1}', ("written by another version",), USER),
    ],
)
def test_a_wrong_file_is_explained(text: str, words: tuple[str, ...], code: int, place: Path) -> None:
    (place / "wrong.yaml").write_text(text)
    assert_explained(call("train", "--config", "wrong.yaml", "--run", "r"), Case((), words, code))
    assert not (place / "r").exists()


def test_a_file_that_there_is_not_is_refused(place: Path) -> None:
    (place / "empty").mkdir()
    for name in ("absent.yaml", "empty", "absent"):
        finished = call("train", "--config", name, "--run", "r")
        assert finished.code == USER and name in finished.err


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["train", "--activation"], {"relu2", "swiglu"}),
        (["train", "--preset"], {"auto", "tiny", "mini", "portable", "portable-mini", "events"}),
        (["train", "--learn"], {"--learning-rate"}),
        ([], {"train", "plan"}),
    ],
)
def test_the_shell_completes(words: list[str], completed: set[str]) -> None:
    begun = words.pop() if words and words[-1] == "--learn" else ""
    found = {item.value for item in ShellComplete(cli, {}, "mlx-tiny", "").get_completions(words, begun)}
    assert completed <= found
