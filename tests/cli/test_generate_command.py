from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlx_tiny.cli import main
from mlx_tiny.config import Sampling
from mlx_tiny.data.tokenizer import load_tokenizer
from mlx_tiny.model import writing
from mlx_tiny.model.generate import generate_tokens
from mlx_tiny.model.writing import write_text
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.counting_file import counting_path, load_counting

from .command_line import call, files_below, succeeded, text_of

Write = Callable[..., str]


@pytest.fixture
def write(trained: Path) -> Write:
    """Output of `generate` on the trained run, without the last line end."""

    def run(*arguments: str | int | float, stdin: str = "") -> str:
        before = files_below(trained)
        finished = succeeded(call("generate", trained, *map(str, arguments), stdin=stdin))
        assert finished.err.endswith("tokens/s\n") and finished.out.endswith("\n")
        assert files_below(trained) == before
        return finished.out[:-1]

    return run


def by_hand(trained: Path, prompt: str, **sampling: Any) -> str:
    """The text that `generate` should write, computed from its parts."""
    run = RunFolder(trained)
    tokenizer = load_tokenizer(run.tokenizer_model)
    arguments = run.load_weights(), run.config.model, tokenizer, prompt.encode(), Sampling(**sampling)
    written = write_text(*arguments, mixed=load_counting(run))
    return prompt + "".join(written)


@pytest.mark.parametrize("prompt", ["", "Story 5. Ann", "Ünter ▁ 🙂\n", "Story 5. Ann fo", "Ann "])
def test_the_text_is_that_of_the_settings_and_keeps_the_prompt(trained: Path, write: Write, prompt: str) -> None:
    sampling = {"temperature": 0.7, "top_p": 0.9, "seed": 5, "max_tokens": 12}
    flags = [part for name, value in sampling.items() for part in (f"--{name.replace('_', '-')}", value)]
    text = write("--prompt", prompt, *flags)
    assert text == by_hand(trained, prompt, **sampling)
    assert text.startswith(prompt) and len(text) > len(prompt)


def test_defaults_are_those_of_sampling(trained: Path, write: Write) -> None:
    assert write() == by_hand(trained, "")


def test_the_seed_decides_and_at_temperature_0_it_does_not(write: Write) -> None:
    assert write("--seed", 1, "--max-tokens", 30) == write("--seed", 1, "--max-tokens", 30)
    assert write("--seed", 1, "--max-tokens", 30) != write("--seed", 2, "--max-tokens", 30)
    greedy = [write("--temperature", 0, "--seed", seed, "--max-tokens", 30) for seed in (1, 2)]
    assert greedy[0] == greedy[1] != ""


def test_a_shorter_text_is_the_beginning_of_a_longer_one(trained: Path, write: Write) -> None:
    # The prompt fills much of the context (32), so that the longer text goes beyond it.
    prompt = "Ann found the ball. Ben lost the cake."
    short, long = (write("--prompt", prompt, "--max-tokens", count) for count in (4, 40))
    assert long.startswith(short) and len(long) > len(short) > len(prompt)


def test_the_text_appears_as_it_grows(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    seen: list[int] = []

    def watched(*arguments: Any, **settings: Any) -> Iterator[int]:
        for token in generate_tokens(*arguments, **settings):
            seen.append(len(out.buffer.getvalue()))  # type: ignore[attr-defined]
            yield token

    monkeypatch.setattr(writing, "generate_tokens", watched)
    monkeypatch.setattr(sys, "stdout", out)
    main(["generate", str(trained), "--prompt", "Ann", "--max-tokens", "12", "--temperature", "0"])
    assert len(seen) >= 5 and seen == sorted(seen)
    # Nothing before the first token; then every token of whole characters is there before the next is asked for.
    assert seen[0] == 0 and len(set(seen)) > len(seen) // 2 and seen[-1] < len(text_of(out))


def test_interactive_asks_until_the_end_of_input(trained: Path) -> None:
    prompts = ["Ann found", "", "Ben lost the cake. " * 30, "Cleo"]
    arguments = ("generate", trained, "--interactive", "--max-tokens", "6", "--seed", "5")
    finished = succeeded(call(*arguments, stdin="\n".join(prompts) + "\n"))
    texts = [by_hand(trained, prompt, max_tokens=6, seed=5 + n) for n, prompt in enumerate(prompts)]
    assert finished.out == "".join(f"{text}\n" for text in texts)
    assert "longer than the model's context" in finished.err and len(finished.err.splitlines()) == 1
    assert succeeded(call(*arguments)).out == ""


@pytest.mark.parametrize("kind", ["file", "-"])
def test_a_prompt_from_a_file_is_taken_byte_for_byte(kind: str, trained: Path, place: Path, write: Write) -> None:
    prompt = "Story 5.\r\n Ann 🙂\n\n"
    (place / "start.txt").write_bytes(prompt.encode())
    where = ("--prompt", "-") if kind == "-" else ("--prompt-file", "start.txt")
    text = write(*where, "--max-tokens", 5, stdin=prompt if kind == "-" else "")
    assert text == by_hand(trained, prompt, max_tokens=5) and text.startswith(prompt)


def test_a_prompt_whose_last_character_is_cut(trained: Path, place: Path) -> None:
    (place / "start.txt").write_bytes("Ann 🙂".encode()[:-1])
    finished = succeeded(call("generate", trained, "--prompt-file", "start.txt", "--max-tokens", "3"))
    assert finished.out.startswith("Ann ") and ord(finished.out[4]) > 127
    (place / "start.txt").write_bytes(b"Ann \xff\xfe.")
    assert "not valid UTF-8" in call("generate", trained, "--prompt-file", "start.txt").err


def test_several_texts_have_seeds_of_their_own_and_a_line_each(trained: Path, write: Write) -> None:
    texts = [by_hand(trained, "Ann", max_tokens=9, seed=seed) for seed in (4, 5, 6)]
    text = write("--prompt", "Ann", "--num-samples", 3, "--seed", 4, "--max-tokens", 9)
    assert text == "\n".join(texts) and len(set(texts)) == 3


@pytest.mark.parametrize("flags", [("--prompt", "An\nn"), ("--documents", "2")])
def test_texts_of_several_lines_are_separated(flags: tuple[str, ...], write: Write) -> None:
    assert write(*flags, "--num-samples", 2, "--max-tokens", 3).count("\n<|endoftext|>\n") == 1


@pytest.mark.parametrize(
    ("flag", "value"),
    [("temp", 3.0), ("top-p", 0.3), ("top-k", 2), ("min-p", 0.5), ("repetition-penalty", 3.0), ("seed", 8)],
)
def test_each_setting_of_sampling_has_a_flag(flag: str, value: float, trained: Path, write: Write) -> None:
    others = {"temperature": 1.5, "top_p": 1.0, "max_tokens": 20}
    name = "temperature" if flag == "temp" else flag.replace("-", "_")
    text = write("--temperature", 1.5, "--top-p", 1, "--max-tokens", 20, f"--{flag}", value)
    assert text == by_hand(trained, "", **{**others, name: value}) != by_hand(trained, "", **others)


def test_a_text_ends_before_a_stop(trained: Path, write: Write) -> None:
    whole = write("--prompt", "Story", "--max-tokens", 60)
    after = whole.removeprefix("Story")
    stop = after[len(after) // 2 :][:3]
    assert write("--prompt", "Story", "--max-tokens", 60, "--stop", "absent", "--stop", stop) == (
        "Story" + after[: after.index(stop)]
    )


def test_documents_follow_one_another(write: Write) -> None:
    one, two, many = (write("--max-tokens", 400, *flags) for flags in ((), ("--documents", 2), ("--ignore-end",)))
    assert two.startswith(f"{one}\n\n") and many.startswith(f"{two}\n\n")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--prompt", "a", "--interactive"), 2, "Only one of"),
        (("--interactive", "--num-samples", "3"), 2, "--num-samples"),
        (("--documents", "2", "--ignore-end"), 2, "--ignore-end"),
        (("--num-samples", "2", "--seed", str(2**63 - 1)), 1, "seed is out of range"),
        (("--prompt-file", "absent"), 2, "No such file"),
        (("--num-samples", "0"), 2, "--num-samples"),
        (("--documents", "0"), 1, "documents is out of range"),
        (("--stop", ""), 1, "stop at is empty"),
        (("--seed", "-1"), 1, "seed is out of range"),
        (("--chat", "Hi"), 1, "was not trained on chats"),
        (("--chat", "Hi", "--system", "Be kind."), 1, "role system"),
        (("--system", "Be kind."), 2, "--chat"),
    ],
)
def test_what_does_not_go_is_explained(trained: Path, flags: tuple[str, ...], code: int, words: str) -> None:
    finished = call("generate", trained, *flags)
    assert (finished.code, finished.out) == (code, "") and words in finished.err


def test_a_marker_in_a_prompt_is_named(trained: Path) -> None:
    finished = succeeded(call("generate", trained, "--prompt", "One.<|endoftext|>", "--max-tokens", "2"))
    assert "<|endoftext|>" in finished.err.splitlines()[0]


def test_weights_that_are_not_finite_are_named(trained: Path, place: Path) -> None:
    shutil.copytree(trained, place / "copy")
    run = RunFolder(place / "copy")
    parameters = run.load_weights()
    counting_path(run).unlink()
    (place / "notes.txt").write_text("Once upon a time.\n")
    for factor in (float("nan"), 1e38):  # with the second one, the weights are finite, and what they give is not
        head = mx.where(parameters["head"] == 0, 1.0, parameters["head"])
        run.save_weights({**parameters, "head": mx.clip(head * factor, -3e38, 3e38)}, run.weights_step() or 0)
        for command in (("generate",), ("eval", "notes.txt"), ("score", "notes.txt"), ("predict", "notes.txt")):
            finished = call(command[0], place / "copy", *command[1:])
            assert (finished.code, finished.out) == (1, "") and "NaN" in finished.err


def test_the_last_checkpoint_is_used_before_the_run_has_ended(
    trained: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = place / "copy"
    for name, content in files_below(trained).items():
        if name not in ("weights.safetensors", "checkpoints/best.safetensors"):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(content)
    text = succeeded(call("generate", copy, "--max-tokens", "8")).out
    assert text == by_hand(trained, "", max_tokens=8) + "\n"
