"""What is attacked: folders with texts, runs and a cache, and the commands that read them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli.command_line import call, crash, succeeded, workplace, write_notes, write_purchases
from reading import write, write_lines
from tiny_run import story

SMALL = (
    *("--preset", "tiny", "--vocabulary-size", "300", "--context", "16", "--batch-size", "4", "--width", "16"),
    *("--layers", "1", "--heads", "2", "--key-value-heads", "1", "--head-width", "8", "--hidden", "16", "--no-compile"),
    *("--evaluations", "2", "--checkpoints", "2", "--samples", "0", "--budget", "256tok"),
)
FURTHER = ("--budget", "384tok")
Command = tuple[str, ...]


@dataclass(frozen=True)
class Victim:
    """A folder and the commands that read its files.

    Args:
        folder: that is not changed; it is copied to `place` before each attack.
        commands: by a pattern of the files that they read.
    """

    name: str
    folder: Path
    place: Path
    commands: dict[str, tuple[Command, ...]]

    def pairs(self) -> list[tuple[str, Command]]:
        """Each file with each command that reads it."""
        return [
            (str(path.relative_to(self.folder)), command)
            for pattern, commands in self.commands.items()
            for path in sorted(self.folder.glob(pattern))
            if path.is_file()
            for command in commands
        ]

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """A fresh copy as the current folder, with its cache as that of the user."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.folder, self.place)
        with workplace(self.place):
            yield self.place


def reading(run: str, text: str) -> tuple[Command, ...]:
    """Commands that apply a run to a text."""
    return (
        ("generate", run, "--max-tokens", "8", "--seed", "1", "--prompt", "Ann"),
        ("eval", run, text, "--json"),
        ("score", run, text, "--json"),
        ("predict", run, text, "--json"),
    )


def resuming(run: str, text: str) -> tuple[Command, ...]:
    """Commands that train on from a run."""
    small = SMALL[SMALL.index("--no-compile") :]
    return (
        ("train", "--resume", run),
        ("train", "--resume", run, *FURTHER),
        ("train", "--from", run, "--data", text, *small, "--run", "new"),
    )


def _of_a_run(run: str, applying: tuple[Command, ...], going_on: tuple[Command, ...]) -> dict[str, tuple[Command, ...]]:
    """The files of a run, with the commands that apply it and those that train on."""
    both = ("config.json", "tokenizer.model", "*.safetensors", "checkpoints/*")
    return {
        **{f"{run}/{pattern}": (*applying, *going_on) for pattern in both},
        **{f"{run}/{name}": going_on for name in ("metrics.jsonl", "report.json")},
    }


def train(text: str, *flags: str, run: str = "new") -> Command:
    return ("train", "--data", text, *SMALL, *flags, "--run", run)


def write_runs(place: Path) -> dict[str, tuple[Command, ...]]:
    """A finished run, one that stopped, and one that began with the weights of the first."""
    write_notes(place / "notes.txt", 40)
    (place / "few.txt").write_text("\n<|endoftext|>\n".join(map(story, range(100, 124))))
    (place / "two.txt").write_text("Ann found the ball.\n\nBen washed the kite.\n")
    succeeded(call(*train("notes.txt", run="run")))
    with crash(steps=2):
        call(*train("notes.txt", run="stopped"))
    succeeded(
        call("train", "--from", "run", "--data", "few.txt", *SMALL[SMALL.index("--no-compile") :], "--run", "tuned")
    )
    every = dict[str, tuple[Command, ...]]()
    for run in ("run", "stopped", "tuned"):
        every |= _of_a_run(run, reading(run, "two.txt"), resuming(run, "few.txt"))
    again = (train("notes.txt"), ("data", "show", "notes.txt", "--vocabulary-size", "300", "--json"))
    cached = (
        *again,
        ("eval", "run", "two.txt", "--json"),
        *resuming("run", "few.txt")[1:],
        *resuming("tuned", "few.txt"),
    )
    every["run/checkpoints/*"] += (("train", "--resume", "run", "--resume-from", "best", *FURTHER),)
    return {**every, "home/prepared/*/*": cached}


def write_events(place: Path) -> dict[str, tuple[Command, ...]]:
    """A table, its schema, and a run."""
    write_purchases(place / "shop.csv", 20, 8)
    succeeded(call("data", "describe", "shop.csv", "--out", "schema.yaml"))
    learn = ("--schema", "schema.yaml", "--held-out", "0.2", "--vocabulary-size", "280")
    succeeded(call(*train("shop.csv", *learn, run="run")))
    evaluate = ("predict", "run", "--evaluate", "--json")
    again = (train("shop.csv", *learn), ("data", "show", "shop.csv", "--schema", "schema.yaml", "--json"))
    return {
        **_of_a_run("run", (*reading("run", "shop.csv"), evaluate), resuming("run", "shop.csv")[:2]),
        "home/prepared/*/*": (*again, evaluate, reading("run", "shop.csv")[1]),
        "schema.yaml": again,
        "shop.csv": (*again, ("data", "describe", "shop.csv"), *reading("run", "shop.csv")[1:]),
    }


def write_mixture(place: Path) -> dict[str, tuple[Command, ...]]:
    """Chats and a text, and a run of both in shares."""
    write_notes(place / "notes.txt", 40)
    _write_chats(place / "chats.jsonl", 30)
    learn = ("chats.jsonl:0.7", "--data", "notes.txt:0.3")
    succeeded(call(*train(*learn, run="run")))
    answering = (
        ("generate", "run", "--chat", "Hello", "--max-tokens", "8"),
        ("generate", "run", "--prompt", "Ann", "--num-samples", "2", "--max-tokens", "4"),
    )
    again = (train(*learn), ("data", "show", "chats.jsonl:0.7", "notes.txt:0.3", "--vocabulary-size", "300", "--json"))
    return {
        **_of_a_run("run", (*answering, ("eval", "run", "chats.jsonl", "--json")), resuming("run", "notes.txt")),
        "home/prepared/*/*": (*again, *resuming("run", "notes.txt")[1:]),
    }


def _write_chats(path: Path, number: int) -> None:
    chats = (
        [{"role": "user", "content": f"Tell {n}"}, {"role": "assistant", "content": story(n)}] for n in range(number)
    )
    write_lines(path, *({"messages": messages} for messages in chats))


def write_texts(place: Path) -> dict[str, tuple[Command, ...]]:
    """Texts in every format, and a run that is applied to them."""
    import pyarrow
    from pyarrow import parquet

    texts = [story(number) for number in range(40)]
    write_notes(place / "notes.txt", 40)
    succeeded(call(*train("notes.txt", run="run")))
    write_notes(place / "a.txt", 24)
    table = [("n", "text"), *((str(n), f'"{text}"') for n, text in enumerate(texts))]
    for name, delimiter in (("b.csv", ","), ("b.tsv", "\t"), ("c.csv.zst", ";")):
        write(place / name, "\n".join(map(delimiter.join, table)) + "\n")
    write_lines(place / "d.jsonl", *({"id": n, "text": text, "tags": ["a"]} for n, text in enumerate(texts)))
    write(place / "e.json", json.dumps([{"id": n, "text": text} for n, text in enumerate(texts)]))
    parquet.write_table(pyarrow.table({"id": list(range(40)), "text": texts}), place / "f.parquet")
    write(place / "g.txt.gz", (place / "a.txt").read_bytes())
    write(place / "h.txt.zip", (place / "a.txt").read_bytes())
    _write_chats(place / "i.jsonl", 40)
    return {
        path.name: (
            ("data", "show", path.name, "--vocabulary-size", "300", "--json"),
            ("data", "show", path.name, "--tokenizer", "bytes"),
            train(path.name),
            ("eval", "run", path.name, "--json"),
            ("score", "run", path.name, "--json"),
            ("predict", "run", path.name, "--json"),
        )
        for path in sorted(place.iterdir())
        if path.is_file() and path.name != "notes.txt"
    }


WRITERS = {"runs": write_runs, "events": write_events, "mixture": write_mixture, "texts": write_texts}


def make_victim(name: str, folder: Path) -> Victim:
    """Make a victim; its files name the place where its copies will be."""
    place = folder / "place"
    place.mkdir(parents=True)
    with workplace(place), pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlx_tiny.report.picture.draw", lambda *_: None)
        commands = WRITERS[name](place)
    os.rename(place, folder / "whole")
    return Victim(name, folder / "whole", place, commands)
