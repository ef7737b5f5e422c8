"""Small texts and a small tokenizer."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx_tiny.data.tokenizers.byte_pair import BytePairTokenizer


def words(text: str) -> list[str]:
    return text.split()


NAMES = words("Ann Ben Cleo Dan Eve Finn Gus Hana Ivy Jack Kim Lee Mia Noor Otto Pam")
THINGS = words("ball boat cake cart coat drum fish frog hill kite lamp leaf moon nest pond rock rope sled tree")
DEEDS = words("found lost washed painted dropped wanted followed watched carried hid liked mended")
MANNERS = words("happily slowly quietly again today together outside early bravely gently")


def make_story(number: int) -> str:
    """A few sentences, different for each number."""
    chance = random.Random(number)
    sentences = [
        f"{chance.choice(NAMES)} {chance.choice(DEEDS)} the {chance.choice(THINGS)} {chance.choice(MANNERS)}."
        for _ in range(6)
    ]
    return f"Story {number}: {' '.join(sentences[:3])}\n{' '.join(sentences[3:])}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MLX_TINY_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def stories() -> list[str]:
    return [make_story(number) for number in range(400)]


@pytest.fixture(scope="session")
def tokenizer(stories: list[str]) -> BytePairTokenizer:
    return BytePairTokenizer.train(stories, 640)


@pytest.fixture
def text_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes stories to a text file, each followed by the separator line."""

    def write(texts: list[str], name: str = "corpus.txt") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{text}\n<|endoftext|>\n" for text in texts), encoding="utf-8")
        return path

    return write
