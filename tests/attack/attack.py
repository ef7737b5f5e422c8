"""An attack: in a copy of a victim one file is damaged, a command reads it, and what it did is judged."""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import json
import os
import re
import resource
import signal
import stat
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from cli.command_line import Finished, call

from .edits import Edit, apply
from .victims import Command, Victim

HANG_S, DEAD_S = 20, 60
"""After which a command is interrupted, and its process ended where that does not help; both on a busy machine."""
SLOW_CPU_S = 5
MOST_MORE_BYTES = 400 << 20
MOST_DATA_BYTES = 6 << 30
"""Beyond what the process has: what asks for more gets an error instead of all memory of the machine."""
LARGEST_OUTPUT, LARGEST_PARAGRAPH = 40_000, 4000
_STRENGTH = re.compile("bits_per|perplexity|counting|parameters|^tokens$|epochs|flops")
"""Lines at the end of a training command that do not depend on the machine."""


@dataclass(frozen=True)
class Attack:
    """An edit of a file of a victim, and the command that reads it afterwards.

    Args:
        forge: see `edits.apply`.
    """

    victim: str
    file: str
    edit: Edit
    command: Command
    forge: bool = False

    def line(self) -> str:
        """One line of JSON, from which it can be repeated."""
        return json.dumps(asdict(self))


class Hang(BaseException):
    """A command does not end."""


@dataclass(frozen=True)
class Outcome:
    """What a command did: its end, its result, and all files before and after it."""

    finished: Finished
    result: Any
    before: dict[str, Any]
    after: dict[str, Any]


def run(victim: Victim, command: Command, attack: Attack | None = None) -> Outcome:
    """What `command` does with a copy of a victim, which has been attacked or not."""
    with victim.copied() as place:
        if attack is not None:
            apply(place / attack.file, attack.edit, attack.forge)
        before = contents(place)
        finished = call(*command)
        return Outcome(finished, _result(finished, command, place), before, contents(place))


def contents(folder: Path) -> dict[str, Any]:
    """The content of each file of a folder, or what it is where it is no file; without the kernels of MLX."""
    found = dict[str, Any]()
    for path in folder.rglob("*"):
        name, kind = str(path.relative_to(folder)), path.lstat().st_mode
        if not stat.S_ISDIR(kind) and not name.startswith("home/cpu_kernels/"):
            found[name] = path.read_bytes() if stat.S_ISREG(kind) else stat.S_IFMT(kind)
    return found


def _result(finished: Finished, command: Command, place: Path) -> Any:
    """What a command found out, without what depends on the clock: lines, or the end of a run and its arrays."""
    if finished.code != 0 or command[0] != "train":
        return finished.out.splitlines()
    folder = place / (command[command.index("--resume") + 1] if "--resume" in command else "new")
    files: list[Any] = [
        mx.load(str(folder / name), format="safetensors")
        for name in ("checkpoints/last.safetensors", "weights.safetensors")
    ]
    end = {name: value for name, value in finished.results().items() if _STRENGTH.search(name)}
    return {**end, **{name: np.array(array).tobytes() for file in files for name, array in file.items()}}


def faults(victim: Victim, attack: Attack, expected: Outcome, journal: Path) -> list[str]:
    """What is wrong with how a command answered an attack; nothing if all is well.

    Args:
        expected: what the command does without the attack.
        journal: file that has the attack while it lasts, so that the end of the process can be traced to it.
    """
    journal.write_text(attack.line() + "\n")
    began, memory = time.process_time(), _peak_bytes(reset=True)
    try:
        with _limits(journal):
            outcome = run(victim, attack.command, attack)
    except Hang:
        return ["hang"]
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "/mlx_tiny/" in f.filename]
        where = f"{frames[-1].filename.rpartition('/mlx_tiny/')[2]}:{frames[-1].lineno}" if frames else "unknown"
        return [f"traceback of {type(error).__name__} at {where}: {str(error)[:150]}"]
    found = [*_bad_output(outcome, attack.command), *_bad_files(outcome, attack)]
    if outcome.finished.code == expected.finished.code == 0 and not attack.forge:
        found += _silent_change(outcome, expected, attack)
    if (took := time.process_time() - began) > SLOW_CPU_S:
        found.append(f"slow: {took:.1f} s")
    if (grown := _peak_bytes() - memory) > MOST_MORE_BYTES:
        found.append(f"memory: {grown >> 20} MB more")
    return found


@contextlib.contextmanager
def _limits(journal: Path) -> Iterator[None]:
    """Bound the time and, where the system can, the memory of what happens in the block."""

    def late(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, late)
    left, _ = signal.setitimer(signal.ITIMER_REAL, HANG_S)  # another limit may be running: that of pytest-timeout
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with open(journal.with_suffix(".trace"), "w") as trace:
        faulthandler.dump_traceback_later(DEAD_S, exit=True, file=trace)
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_DATA, (_status_bytes("VmData") + MOST_DATA_BYTES, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
            faulthandler.cancel_dump_traceback_later()
            signal.setitimer(signal.ITIMER_REAL, left)
            signal.signal(signal.SIGALRM, before)


def _peak_bytes(reset: bool = False) -> int:
    """The most memory that this process had since the last reset; 0 where the system does not tell."""
    if sys.platform != "linux" or not os.access("/proc/self/clear_refs", os.W_OK):
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return _status_bytes("VmHWM")


def _status_bytes(name: str) -> int:
    (kilobytes,) = re.findall(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes) << 10


def _bad_output(outcome: Outcome, command: Command) -> Iterator[str]:
    code, out, err = outcome.finished.code, outcome.finished.out, outcome.finished.err
    if code not in (0, 1, 2):
        yield f"exit code {code}"
    if len(err) > LARGEST_OUTPUT:
        yield f"stderr of {len(err)} characters"
    for name, text in (("stdout", "" if command[0] == "generate" else out), ("stderr", err)):
        if strange := {character for character in text if not character.isprintable() and character not in "\n\t\r"}:
            yield f"{name} has {sorted(strange)[:5]!r}"
    if code == 1:
        paragraphs = [line for line in err.splitlines() if line.startswith("mlx-tiny: ")]
        if paragraphs != err.splitlines()[-1:] or len(paragraphs[0]) > LARGEST_PARAGRAPH:
            yield f"no paragraph at the end of {err[-300:]!r}"
        if out and command[0] != "generate":
            yield f"output before an error: {out[:100]!r}"
    if code == 0 and "--json" in command:
        yield from _bad_json("stdout", out)
    for name, content in outcome.after.items() if code == 0 and command[0] == "train" else ():
        if name.endswith((".json", ".jsonl")) and content != outcome.before.get(name):
            for text in content.decode().splitlines() if name.endswith("l") else [content.decode()]:
                yield from _bad_json(name, text)


def _bad_json(name: str, text: str) -> Iterator[str]:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no number of JSON")

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError as error:
        yield f"{name}: {error}"


def _bad_files(outcome: Outcome, attack: Attack) -> Iterator[str]:
    """Files that a command left over, or changed although it failed or should only have read them.

    A new run may begin with what a stranger wrote, diverge, and keep its last good checkpoint.
    """
    before, after = outcome.before, outcome.after
    trained = attack.command[0] == "train" and outcome.finished.code == 0
    for name in sorted(name for name in {**before, **after} if before.get(name) != after.get(name)):
        if "/." in f"/{name}":
            yield f"left over: {name}"
        elif not trained and not name.startswith(("home/", "new/") if attack.forge else "home/"):
            yield f"changed: {name}"


def _silent_change(outcome: Outcome, expected: Outcome, attack: Attack) -> Iterator[str]:
    """Another result without a word of it on stderr.

    Another text of the user gives another result; but of a damaged file, all documents whose lines are whole are read,
    unless it is of a format that may lack checksums.
    """
    if outcome.result == expected.result or _said(outcome) - _said(expected):
        return
    if "/" not in attack.file:
        if attack.command[0] == "score" and not attack.file.endswith((".zst", ".parquet")):
            lost = collections.Counter(_documents(expected)) - collections.Counter(_documents(outcome))
            touched = _touched_lines(outcome.before.get(attack.file), expected.before[attack.file])
            if lost.total() > touched:
                yield f"silent change: {touched} lines are damaged, and {lost.total()} documents are read otherwise"
    elif difference := _difference(outcome.result, expected.result):
        yield f"silent change: {difference}"


def _said(outcome: Outcome) -> set[str]:
    """The lines on stderr, without their numbers."""
    return {re.sub(r"[\d.]+", "#", line) for line in outcome.finished.err.splitlines()}


def _documents(outcome: Outcome) -> list[str]:
    """What a command found out about each document, whose numbers may be others."""
    return [json.dumps({**row, "name": ""}) for row in json.loads(outcome.finished.out)["documents"]]


def _touched_lines(after: Any, before: bytes) -> int:
    """At most so many lines of a file were changed."""
    if not isinstance(after, bytes):
        return before.count(b"\n") + 1
    return (collections.Counter(before.splitlines()) - collections.Counter(after.splitlines())).total() + 1


def _difference(result: Any, expected: Any) -> str:
    """Where two results differ; empty if one only says null of what it does not know any more."""
    if isinstance(expected, dict):
        names = [name for name in {**expected, **result} if expected.get(name) != result.get(name)]
        return ", ".join(f"{name} {str(expected.get(name))[:20]} -> {str(result.get(name))[:20]}" for name in names[:3])
    if len(expected) != len(result):
        return f"{len(expected)} -> {len(result)} lines"
    unknown = [re.sub(r'"documents_trained_on": \d+', '"documents_trained_on": null', line) for line in expected]
    pairs = [(a, c) for a, b, c in zip(expected, unknown, result, strict=True) if c not in (a, b)]
    return f"{pairs[0][0][:150]} -> {pairs[0][1][:150]}" if pairs else ""
