"""The example of the README, run on a small model; and the five functions beside what they stand for."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli.command_line import TINY, workplace, write_notes
from tiny_run import ROOT, story

import mlx_tiny
from mlx_tiny import api
from mlx_tiny.api import train
from mlx_tiny.config import Sampling
from mlx_tiny.errors import TinyError
from mlx_tiny.model.writing import write_text
from mlx_tiny.training.evaluate import evaluate_texts
from mlx_tiny.training.trained import TrainedModel

SMALL: dict[str, Any] = {name[2:].replace("-", "_"): value for name, value in zip(TINY[::2], TINY[1::2], strict=True)}


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What the README's example has computed: its names, and `printed`."""
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    genuine = api.train

    def small(data: str, run: str, budget: str) -> TrainedModel:
        assert re.fullmatch(r"\d+[sm]", budget)
        return genuine(data, run, budget="1280tok", compile=False, samples=0, **SMALL)

    out, err = io.StringIO(), io.StringIO()
    with workplace(tmp_path_factory.mktemp("api")) as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "train", small)
        patch.setattr("mlx_tiny.report.picture.draw", lambda *_: None)
        write_notes(folder / "notes.txt")
        (folder / "other.txt").write_text(story(9001), encoding="utf-8")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            exec(compile(source, "README.md", "exec"), names)
        yield {**names, "printed": out.getvalue(), "shown": err.getvalue()}


def test_the_example_prints_a_text_and_two_numbers(example: dict[str, Any]) -> None:
    model = example["model"]
    *text, bits, nats = example["printed"].rstrip("\n").split("\n")
    assert "\n".join(text) == mlx_tiny.generate(model, "Once upon a ", temperature=0.7, max_tokens=60)
    assert 0.1 < float(bits) < 9 and float(nats) < -10
    assert "bits_per_byte: " in example["shown"], "what training prints does not mix with the program's own output"


def test_a_run_is_loaded_and_writes_as_the_command_does(example: dict[str, Any]) -> None:
    model = mlx_tiny.load("runs/python")
    sampling: dict[str, Any] = {"top_k": 9, "seed": np.int64(2), "max_tokens": 30}
    drawn = write_text(
        model.parameters,
        model.config,
        model.tokenizer,
        "Ann",
        Sampling(**sampling),
        stop_texts=["."],
        mixed=model.mixed,
    )
    text = mlx_tiny.generate(model, "Ann", stop=["."], **sampling)
    assert text == "".join(drawn) == mlx_tiny.generate(example["model"], "Ann", stop=".", **sampling)
    with pytest.raises(TinyError, match="contains no run"):
        mlx_tiny.load("absent")
    with pytest.raises(TinyError, match="not trained on chats"):
        mlx_tiny.generate(model, "Hi", chat=True)
    with pytest.warns(UserWarning, match="endoftext"):
        mlx_tiny.generate(model, "a<|endoftext|>", max_tokens=1)


@pytest.mark.parametrize(
    ("function", "data", "settings", "words"),
    [
        ("generate", "a", {"num_samples": 3}, "num_samples"),
        ("generate", "a", {"temperature": "hot"}, "type"),
        ("generate", "a", {"system": "Be kind."}, "chat=True"),
        ("generate", "a", {"seed": 1.5}, "seed"),
        ("generate", "a", {"top_k": True}, "top_k"),
        ("generate", "a", {"documents": 1.5}, "documents"),
        ("generate", "a", {"documents": True}, "documents"),
        ("generate", "a", {"stop": None}, "stop"),
        ("generate", "a", {"stop": [b"x"]}, "stop"),
        ("generate", None, {}, "prompt"),
        ("generate", 5, {"chat": True}, "prompt|chats"),
        ("evaluate", b"abc", {}, "bytes"),
        ("evaluate", [b"abc"], {}, "bytes"),
        ("evaluate", None, {}, "documents"),
        ("evaluate", {"text": ["a"]}, {}, "documents"),
        ("evaluate", "notes.txt", {"documents": 1}, "documents"),
        ("evaluate", ["a"], {"text_column": "b"}, "text_column"),
        ("score", None, {}, "documents"),
        ("evaluate", ["a"], {"bugdet": "5m"}, "bugdet"),
        ("evaluate", "notes.txt", {"sources": ("other.txt",)}, "sources"),
        ("evaluate", "notes.txt", {"suffix": 3}, "type"),
        ("evaluate", "", {}, "empty name"),
        ("score", Path("notes.txt"), {}, "notes.txt"),
    ],
)
def test_what_does_not_go_is_explained(
    function: str, data: Any, settings: dict, words: str, example: dict[str, Any]
) -> None:
    with pytest.raises(TinyError, match=words):
        getattr(mlx_tiny, function)(example["model"], data, **settings)


def test_what_is_no_text_is_refused_where_it_is_met(example: dict[str, Any]) -> None:
    scores = mlx_tiny.score(example["model"], ["a", b"b"])  # type: ignore[list-item]
    with pytest.raises(TinyError, match="bytes"):
        list(scores)
    for nothing in (None, 5):
        with pytest.raises(TinyError, match="folder"):
            mlx_tiny.load(nothing)  # type: ignore[arg-type]


def test_a_message_may_be_bytes(monkeypatch: pytest.MonkeyPatch, example: dict[str, Any]) -> None:
    asked: list[str] = []
    monkeypatch.setattr(api, "question", lambda _, message, __: asked.append(message) or message)
    mlx_tiny.generate(example["model"], "Grüße".encode(), chat=True, max_tokens=1)
    assert asked == ["Grüße"]


def test_text_that_was_trained_on_is_warned_of(example: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match="trained on: "):
        mlx_tiny.evaluate(example["model"], "notes.txt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mlx_tiny.evaluate(example["model"], "other.txt")


def test_a_suffix_may_be_given_alone(example: dict[str, Any]) -> None:
    Path("code").mkdir()
    Path("code/a.py").write_text("Ann found the ball.")
    assert mlx_tiny.evaluate(example["model"], "code", suffix=".py").bytes == 19


def test_a_name_that_is_scored_as_a_text_is_warned_of(example: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match=r"notes\.txt"):
        mlx_tiny.score(example["model"], "notes.txt")


def test_the_functions_are_listed_and_a_model_is_shown_in_a_line(example: dict[str, Any]) -> None:
    assert set(mlx_tiny.__all__) <= set(dir(mlx_tiny))
    assert len(repr(example["model"])) < 120 and "array" not in repr(example["model"])


def test_a_run_without_a_folder_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(api, "call_command", lambda _, **options: asked.update(options))
    monkeypatch.setattr(api, "load", lambda run: run)
    assert train("notes.txt") == asked["run"] and asked["run"].parent.name == "runs"
    with pytest.raises(TinyError, match="no text"):
        train(None)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:documents that were trained on")
def test_documents_are_measured_alike_in_a_file_and_in_memory(example: dict[str, Any]) -> None:
    model, texts = example["model"], [story(1), story(2)]
    whole = mlx_tiny.evaluate(model, texts)
    Path("two.txt").write_text("\n<|endoftext|>\n".join(texts), encoding="utf-8")
    assert mlx_tiny.evaluate(model, "two.txt") == mlx_tiny.evaluate(model, Path("two.txt")) == whole
    assert whole == evaluate_texts(model.parameters, model.config, model.tokenizer, texts, mixed=model.mixed)[0]
    scores = list(mlx_tiny.score(model, texts))
    assert scores[1].log_probability == pytest.approx(mlx_tiny.score(model, texts[1]).log_probability, rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bugdet": "5m"}, "--bugdet"),
        ({"layers": "many"}, "many"),
        ({"layers": 0}, "layers is out of range"),
        ({"data": ["absent.txt", "notes.txt"]}, "absent.txt does not exist"),
        ({"data": []}, "empty"),
        ({"help": True}, "help"),
        ({"help_all": True}, "help_all"),
        ({"run": "runs/python"}, "exists already"),
        ({"from_": "nowhere"}, "nowhere contains no run"),
    ],
)
def test_wrong_settings_of_a_training_are_explained(settings: dict, words: str, example: dict[str, Any]) -> None:
    with pytest.raises(TinyError, match=words):
        api.call_command("train", **{"data": "notes.txt", "run": "other", **SMALL, **settings})
    assert not Path("other").exists()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import mlx_tiny, sys; print([m for m in ('mlx', 'numpy', 'click') if m in sys.modules], dir(mlx_tiny))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith("[] ")
    with pytest.raises(AttributeError, match="absent"):
        mlx_tiny.absent  # noqa: B018
