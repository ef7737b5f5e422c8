"""The READMEs and CONTRIBUTING.md are true: commands run, flags and links exist, numbers are those of the results.

A command is a line of a code block that begins with `mlx-tiny` (or a path to it) or `./scripts/`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from cli.command_line import call, run_here, succeeded, workplace, write_notes, write_purchases

from mlx_tiny.cli import COMMANDS, cli
from mlx_tiny.config.presets import RECIPES, presets_of
from mlx_tiny.machine import peaks
from mlx_tiny.units import format_bytes, format_count

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
ROOMS = [README, *sorted(ROOT.glob("mlx_tiny/*/README.md"))]
DOCUMENTS = [
    *ROOMS,
    *(
        ROOT / name
        for name in ("CONTRIBUTING.md", "kernels/README.md", "benchmarks/README.md", "tests/emulator/README.md")
    ),
]
SHELLS = ("", "bash", "sh", "shell", "console")
SMALL = (
    "--preset tiny --vocabulary-size 512 --context 32 --train-bytes 200000 --validation-bytes 20000 --evaluations 1 "
    "--no-compile --width 32 --batch-size 4 --samples 1"
).split()
MEASURING = ("bench", "profile")
PYTEST_FLAGS = {"-k", "-m", "-n"}
TOKENS_MORE = 4 * 32
"""Budgets become small, each larger than the one before, so that a run that a README continues can go on."""

Command = list[str]
each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])


def commands(text: str) -> list[Command]:
    """The words of each command, without prompts, comments and explanations, continued lines joined."""
    blocks = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", text, re.MULTILINE | re.DOTALL)
    lines = [line for language, block in blocks if language in SHELLS for line in _joined(block)]
    # In an indented block, an explanation may follow after some blanks.
    lines += [re.split(r"\s{2,}", line[4:])[0] for line in _joined(_prose(text)) if line.startswith("    ")]
    begins = re.compile(r"(\$ )?(\S*/)?(mlx-tiny|scripts/\w+)( |$)")
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if begins.match(line)]


def _joined(block: str) -> list[str]:
    """Lines, those that end in a backslash together with the next."""
    return re.sub(r"\s*\\\n\s*", " ", block).splitlines()


def _prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def mlx_tiny_arguments(text: str) -> list[Command]:
    """Arguments of the commands that start mlx-tiny; ./scripts/train is one."""
    found = []
    for words in commands(text):
        if Path(words[0]).name == "mlx-tiny":
            found.append(words[1:])
        elif words[0] == "./scripts/train":
            found.append(["train", *words[1:]])
    return found


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
    """Every flag of every command, and those of the scripts' programs."""
    context = click.Context(cli, **cli.context_settings)
    groups = [cli, *(cli.get_command(context, name) for name in COMMANDS)]
    contexts = [(command, click.Context(command, parent=context)) for command in groups if command is not None]
    parameters = [parameter for command, own in contexts for parameter in command.get_params(own)]
    flags = {flag for p in parameters for flag in (*p.opts, *p.secondary_opts)}
    programs = [*ROOT.glob("scripts/*.py"), *ROOT.glob("benchmarks/*.py")]
    return flags.union(*(re.findall(r"--[a-z][-a-z0-9]*", path.read_text(encoding="utf-8")) for path in programs))


def made_small(arguments: Command, tokens: int) -> Command:
    """The same command on a budget for a test, and on data that needs no network."""
    if arguments[0] in MEASURING:
        small = ["--batch-size", "2"] if {"profile", "step"} & set(arguments) else []
        return ["tiny" if word == "mini" else word for word in arguments] + ["--seconds", "0.01", *small]
    if arguments[0] == "study":
        return [*arguments, "--seeds", "1", "--budget", f"{tokens}tok", *SMALL]
    if arguments[0] == "serve":
        return [*arguments, "--help"]  # it goes on until it is interrupted, as tests/export/test_serving.py does
    if arguments[0] != "train":
        return arguments
    arguments = ["stories" if word == "tinystories" else word for word in arguments]
    budget = ["--budget", f"{tokens}tok"]
    kept = [word for word in arguments if not word.startswith("--budget=")]
    while "--budget" in kept:
        place = kept.index("--budget")
        del kept[place : place + 2]
    small = SMALL[:2] + SMALL[4:] if "--schema" in kept else SMALL  # a table supports no vocabulary of 512
    if "portable" in kept:
        small = ["portable-tiny" if word == "tiny" else word for word in small]
    resumed = any(word.partition("=")[0] == "--resume" for word in kept)
    return [*kept, *budget, *([] if resumed else small)]


def test_every_command_has_an_example() -> None:
    shown = {arguments[0] for path in ROOMS for arguments in mlx_tiny_arguments(path.read_text(encoding="utf-8"))}
    assert set(COMMANDS) <= shown, f"no README has an example of {set(COMMANDS) - shown}"


@each_document
def test_links_resolve(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


@each_document
def test_every_command_and_flag_is_known(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for arguments in mlx_tiny_arguments(text):
        check_arguments(arguments)
    for words in commands(text):
        if words[0].startswith("./scripts/"):
            assert (ROOT / words[0]).is_file(), words[0]
        if words[0] == "./scripts/test" and (flags := [word for word in words[1:] if word.startswith("-")]):
            assert set(flags) <= PYTEST_FLAGS


@each_document
def test_every_command_and_flag_in_the_prose_is_known(path: Path) -> None:
    named = [code.split() for code in re.findall(r"`([^`]+)`", _prose(path.read_text(encoding="utf-8")))]
    unknown = {words[1] for words in named if words[0] == "mlx-tiny" and words[1] not in COMMANDS}
    assert unknown <= {"--help"}
    scripts = {words[0] for words in named if words[0].startswith("./scripts/")}
    assert all((ROOT / script).is_file() for script in scripts)
    own = ("mlx-tiny", *scripts)
    flags = {word for words in named if words[0] in own or words[0].startswith("--") for word in words}
    assert not {flag for flag in flags if flag.startswith("--")} - known_flags()


def test_the_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_notes(tmp_path / "notes.txt")
    write_purchases(tmp_path / "purchases.csv")
    has_torch, has_gguf = (importlib.util.find_spec(name) is not None for name in ("torch", "gguf"))
    if has_torch:
        validate_little(monkeypatch)
    # Each takes half a second, and no test here looks at it.
    monkeypatch.setattr("mlx_tiny.report.picture.draw", lambda *_: None)
    monkeypatch.setattr(peaks, "measure", lambda _: peaks.Peaks({"float32": 1e11}, 1e10, 1e-6, 1e-5, "float32"))
    monkeypatch.setattr("mlx_tiny.study.runs.run", run_here)
    monkeypatch.setattr("mlx_tiny.study.speed.measured_tokens_per_s", lambda *_: 1000.0)
    monkeypatch.setattr("mlx_tiny.export.check.compare", lambda *_: [])  # seconds, for each program that is installed
    done: list[Command] = []
    with workplace(tmp_path):
        for arguments in (found for path in ROOMS for found in mlx_tiny_arguments(path.read_text(encoding="utf-8"))):
            possible = (arguments[0] != "validate" or has_torch) and ("gguf" not in arguments or has_gguf)
            if arguments not in done and possible:
                done.append(arguments)
                succeeded(call(*made_small(arguments, tokens=len(done) * TOKENS_MORE)))


def validate_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights as read, and made-up losses; all of `mlx-tiny validate` has a test of its own."""
    from mlx_tiny.validate import suite, trajectory

    for part in (suite.operations, suite.models, suite.optimizers, suite.strength):
        monkeypatch.setattr(part, "comparisons", lambda *_, **__: iter(()))
    curves = trajectory.Curves(np.ones(30), np.ones(30), {})
    monkeypatch.setattr(trajectory.Training, "_trained", lambda _: curves)


def test_the_presets_are_those_of_the_plan() -> None:
    from mlx_tiny.model.parameters import parameter_count

    text = README.read_text(encoding="utf-8")
    for presets in zip(*map(presets_of, RECIPES), strict=True):
        c = presets[0].config().model
        counts = [format_count(parameter_count(preset.config().model)) for preset in presets]
        shape = (f"`{presets[0].size.name}`", c.layers, c.width, c.heads, f"{c.vocabulary_size:,}", c.context, *counts)
        assert f"| {' | '.join(map(str, shape))} |" in text


def test_the_results_are_those_of_the_files() -> None:
    text, study = README.read_text(encoding="utf-8"), results("gpt2_tinystories_5m")
    for measured in (arm["means"] for arm in study["comparisons"]):
        (row,) = [row for row in text.splitlines() if f"{measured['bits_per_byte']['std']:.3f}" in row]
        assert f"{measured['bits_per_byte']['mean']:.3f} ± {measured['bits_per_byte']['std']:.3f}" in row
        assert f"| {measured['perplexity_per_token']['mean']:.1f} (" in row
        assert format_count(measured["parameters"]["mean"]) in row
        assert f"| {measured['tokens']['mean'] / 1e6:.1f}M | {measured['tokens_per_s']['mean'] / 1e3:.1f}k |" in row
        assert format_bytes(measured["peak_memory_bytes"]["mean"]) in row
        assert f"{measured['bits_per_byte']['mean']:.3f}" in text.split("![")[1].split("]")[0]
    for optimizer in ("adamw", "muon"):
        ours = next(r for r in results(f"cpu_step_{optimizer}")["results"] if r["implementation"] == "mlx_tiny")
        ratios = [ours["speed_up"][name] for name in ("torch", "torch tuned", "torch compiled")]
        shown = " | ".join(f"{r['median']:.2f} ({r['p10']:.2f} to {r['p90']:.2f})" for r in ratios)
        assert f"| {shown} | [cpu_step_{optimizer}.json]" in text
    samples = [sample for run in study["runs"] if run["arm"] == "mlx_tiny" for sample in run["samples"]]
    quoted = "\n".join(line[2:] for line in text.splitlines() if line.startswith("> ") and len(line) > 2)
    assert quoted.split() in [sample.split() for sample in samples]


def results(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


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
    ./scripts/test -k budget     some tests
mlx-tiny eval
"""


def test_commands_are_found_in_code_blocks_only() -> None:
    assert commands(EXAMPLE) == [
        ["mlx-tiny", "train", "--data", "my notes.txt", "--budget", "5m"],
        [".venv/bin/mlx-tiny", "info"],
        ["./scripts/train", "--budget", "30s"],
        ["./scripts/test", "-k", "budget"],
    ]


@pytest.mark.parametrize(
    "line", ["train --budgte 5m", "trian", "train --batch-size x", "generate", "eval r", "info --jsn"]
)
def test_a_wrong_command_is_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        check_arguments(line.split())
