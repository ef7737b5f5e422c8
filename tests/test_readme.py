"""README.md is executed: its commands run, its flags exist, and every command is shown.

A command is a line of a fenced block that begins with `mlx-tiny` (or a path to it) or `./scripts/`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli.command_line import call, succeeded, workplace, write_notes

from mlx_tiny.cli import COMMANDS, cli

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SHELLS = ("", "bash", "sh", "shell", "console")
SMALL = (
    "--preset tiny --vocabulary-size 512 --context 32 --train-bytes 300000 --validation-bytes 30000 --evaluations 1"
).split()
MEASURING = ("bench", "profile")
TOKENS_MORE = 640
"""Budgets become small, each larger than the one before, so that a run that the README continues can go on."""

Command = list[str]


def readme() -> str:
    return README.read_text(encoding="utf-8")


def fenced_blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of each fenced block."""
    return re.findall(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[Command]:
    """The words of each command, without prompts and comments, continued lines joined."""
    found = []
    for language, block in fenced_blocks(text):
        if language in SHELLS:
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words and (Path(words[0]).name == "mlx-tiny" or words[0].startswith("./scripts/")):
                    found.append(words)
    return found


def mlx_tiny_arguments(text: str) -> list[Command]:
    """Arguments of the commands that start mlx-tiny itself."""
    return [words[1:] for words in commands(text) if Path(words[0]).name == "mlx-tiny"]


def check_arguments(arguments: Command) -> None:
    """Raise a UsageError where `mlx-tiny ARGUMENTS` would."""
    name = next((word for word in arguments if not word.startswith("-")), None)
    context = click.Context(cli, info_name="mlx-tiny", **cli.context_settings)
    if name is None:
        assert all(word in {flag for p in cli.get_params(context) for flag in p.opts} for word in arguments), arguments
        return
    command = cli.get_command(context, name)
    if command is None:
        raise click.UsageError(f"no command {name}")
    with contextlib.suppress(click.exceptions.Exit):  # as --help does
        command.make_context(name, arguments[arguments.index(name) + 1 :], parent=context)


def known_flags() -> set[str]:
    """Every flag of every command."""
    context = click.Context(cli, **cli.context_settings)
    groups = [cli, *(cli.get_command(context, name) for name in COMMANDS)]
    contexts = [(command, click.Context(command, parent=context)) for command in groups if command is not None]
    parameters = [parameter for command, own in contexts for parameter in command.get_params(own)]
    return {flag for p in parameters for flag in (*p.opts, *p.secondary_opts) if flag.startswith("--")}


def made_small(arguments: Command, tokens: int) -> Command:
    """The same command on a budget for a test, and on data that needs no network."""
    if arguments[0] in MEASURING:
        return ["tiny" if word == "mini" else word for word in arguments] + ["--seconds", "0.01"]
    if arguments[0] != "train":
        return arguments
    arguments = ["stories" if word == "tinystories" else word for word in arguments]
    budget = ["--budget", f"{tokens}tok"]
    kept = [word for word in arguments if not word.startswith("--budget=")]
    while "--budget" in kept:
        place = kept.index("--budget")
        del kept[place : place + 2]
    resumed = any(word.partition("=")[0] == "--resume" for word in kept)
    return [*kept, *budget, *([] if resumed else SMALL)]


def test_every_command_is_shown() -> None:
    shown = {arguments[0] for arguments in mlx_tiny_arguments(readme()) if arguments}
    assert set(COMMANDS) <= shown, f"README.md has no example of {set(COMMANDS) - shown}"


def test_every_command_and_flag_is_known() -> None:
    for words in commands(readme()):
        if Path(words[0]).name == "mlx-tiny":
            check_arguments(words[1:])
        else:
            assert (ROOT / words[0]).is_file(), words[0]
            if words[0] == "./scripts/train":
                check_arguments(["train", *words[1:]])
            elif flags := [word.partition("=")[0] for word in words[1:] if word.startswith("-")]:
                pytest_help = subprocess.run([sys.executable, "-m", "pytest", "--help"], capture_output=True, text=True)
                assert not [flag for flag in flags if not re.search(rf"(^|[\s,]){flag}\b", pytest_help.stdout)]


def test_every_flag_in_the_prose_is_known() -> None:
    prose = re.sub(r"^```.*?^```", "", readme(), flags=re.MULTILINE | re.DOTALL)
    named = {
        flag for code in re.findall(r"`([^`]+)`", prose) for flag in re.findall(r"(?:^|\s)(--[a-z][-a-z0-9]*)", code)
    }
    assert not named - known_flags()


def test_the_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_notes(tmp_path / "notes.txt")
    has_torch = importlib.util.find_spec("torch") is not None
    if has_torch:
        validate_little(monkeypatch)
    # Each takes a quarter of a second, and no test here looks at it.
    monkeypatch.setattr("mlx_tiny.report.report._plot", lambda *_: None)
    with workplace(tmp_path):
        for number, arguments in enumerate(mlx_tiny_arguments(readme()), 1):
            if arguments[0] != "validate" or has_torch:
                succeeded(call(*made_small(arguments, tokens=number * TOKENS_MORE)))


def validate_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No preset and a few steps; all of `mlx-tiny validate` has a test of its own."""
    from mlx_tiny.validate import models, trajectory

    monkeypatch.setattr(models, "comparisons", functools.partial(models.comparisons, presets=()))
    monkeypatch.setattr(trajectory, "Training", functools.partial(trajectory.Training, 21))


EXAMPLE = """
```bash
$ mlx-tiny train --data "my notes.txt" \\
    --budget 5m   # five minutes
.venv/bin/mlx-tiny info
./scripts/train --budget 30s
pip install .
```
```python
mlx-tiny = 3
```
```
mlx-tiny generate runs/a
```
mlx-tiny eval
"""


def test_commands_are_found_in_fenced_blocks_only() -> None:
    assert commands(EXAMPLE) == [
        ["mlx-tiny", "train", "--data", "my notes.txt", "--budget", "5m"],
        [".venv/bin/mlx-tiny", "info"],
        ["./scripts/train", "--budget", "30s"],
        ["mlx-tiny", "generate", "runs/a"],
    ]


@pytest.mark.parametrize(
    "line", ["train --budgte 5m", "trian", "train --batch-size x", "generate", "eval r", "info --jsn"]
)
def test_a_wrong_command_is_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        check_arguments(line.split())


@pytest.mark.parametrize("line", ["train --help", "--version", "train --no-compile --seed 3", "generate r --top-p 0.5"])
def test_a_right_command_is_accepted(line: str) -> None:
    check_arguments(line.split())


def test_commands_are_made_small() -> None:
    assert made_small("train --budget 5m --run r".split(), 64) == [*"train --run r --budget 64tok".split(), *SMALL]
    assert made_small("train --resume r --budget=5m".split(), 64) == "train --resume r --budget 64tok".split()
    assert made_small("train --data tinystories".split(), 64)[:3] == "train --data stories".split()
    assert made_small("generate r --seed 3".split(), 64) == "generate r --seed 3".split()
    assert made_small("bench step --preset mini".split(), 64) == "bench step --preset tiny --seconds 0.01".split()
