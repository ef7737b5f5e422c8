"""Interactive sessions: commands, seeds, conversations, interruptions and the history of lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from numpy_model import random_parameters, to_mlx
from tiny_run import MODEL

from mlx_tiny.cli.interactive import Session, line_editing
from mlx_tiny.cli.writer import Writer
from mlx_tiny.config import Sampling
from mlx_tiny.data.tokenizers.characters import CharacterTokenizer
from mlx_tiny.errors import TinyError
from mlx_tiny.model import writing
from mlx_tiny.training.trained import TrainedModel


def session(roles: tuple[str, ...] = (), system: str = "") -> Session:
    tokenizer = CharacterTokenizer(roles, "abcdefgh")
    config = replace(MODEL, vocabulary_size=tokenizer.size)
    model = TrainedModel(to_mlx(random_parameters(config)), config, tokenizer, "auto")
    return Session(Writer(model), Sampling(max_tokens=5, seed=3), system)


def test_commands_change_settings_and_write_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    subject = session()
    for line in ("/temperature 0.5", "/top-k 7", "/temp 0.4", "/help", "/settings", "/seed", "/reset"):
        subject.take(line)
    assert subject.sampling == Sampling(max_tokens=5, seed=3, temperature=0.4, top_k=7)
    shown = capsys.readouterr()
    assert shown.out == "" and "/reset" in shown.err and "top_k: 7" in shown.err and shown.err.endswith("seed: 3\n")


@pytest.mark.parametrize("line", ["/temperature hot", "/temperature -1", "/unknown", "/top_k 1.5"])
def test_a_wrong_command_is_explained_and_changes_nothing(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    subject = session()
    before = subject.sampling
    subject.take(line)
    assert subject.sampling == before and not subject.ended
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1


def test_quit_ends_the_session() -> None:
    subject = session()
    subject.take("/quit")
    assert subject.ended


def test_each_text_has_the_next_seed_and_two_slashes_are_one(capsys: pytest.CaptureFixture[str]) -> None:
    subject = session()
    texts = []
    for line in ("//a", "//a", "/seed 3", "//a"):
        subject.take(line)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[3] != texts[1] and texts[0].startswith("/a")
    assert subject.sampling.seed == 4


def test_a_conversation_goes_on_until_it_is_reset(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = []

    def write_text(*arguments: Any, **settings: Any) -> list[str]:
        prompts.append((arguments[3], settings["turn"]))
        return [" well", "\n"]

    monkeypatch.setattr(writing, "write_text", write_text)
    subject = session(("system", "user", "assistant"))
    for line in ("Hi", "", " ", "And <|user|>?", "/reset", "Oh"):
        subject.take(line)
    first = "<|user|>Hi<|assistant|>"
    assert prompts == [
        (first, True),
        (f"{first}well<|user|>And <|user|>?<|assistant|>", True),
        ("<|user|>Oh<|assistant|>", True),
    ]
    shown = capsys.readouterr()
    assert shown.out == " well\n\n" * 3 and "contains <|user|>" in shown.err


def test_a_conversation_begins_with_the_message_of_the_system(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = []
    monkeypatch.setattr(writing, "write_text", lambda *arguments, **_: prompts.append(arguments[3]) or ["well"])
    subject = session(("system", "user", "assistant"), system=" Be kind. ")
    for line in ("Hi", "/reset", "Hi", "/system Be short.", "Hi", "/system", "Hi"):
        subject.take(line)
    turn = "<|user|>Hi<|assistant|>"
    kind, short = f"<|system|>Be kind.{turn}", f"<|system|>Be short.{turn}"
    assert prompts == [kind, kind, short, turn]


def test_a_system_message_needs_its_role(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TinyError, match="system"):
        session(("user", "assistant"), system="Be kind.")
    session(("user", "assistant")).take("/system Be kind.")
    assert "user, assistant" in capsys.readouterr().err


def test_ctrl_c_ends_the_text_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        yield "one"
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_text", interrupted)
    subject = session()
    subject.take("a")
    assert capsys.readouterr().out == "aone\n" and not subject.ended


def test_the_history_is_kept_between_sessions(place: Path) -> None:
    readline = pytest.importorskip("readline")
    readline.clear_history()
    with line_editing(place / "new" / "history"):
        readline.add_history("Once upon")
    readline.clear_history()
    with line_editing(place / "new" / "history"):
        assert readline.get_history_item(1) == "Once upon"
    readline.clear_history()
