from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import mlx_tiny
from mlx_tiny.cli import COMMANDS, cli, info_command
from mlx_tiny.cli.options import SECTIONS, flag_name, shown_default
from mlx_tiny.machine import peaks
from mlx_tiny.machine.description import describe
from mlx_tiny.records import to_plain
from mlx_tiny.units import format_bytes

from .command_line import MODULE, call, call_process, environment, succeeded

HELP_SECONDS = 0.3
HEAVY = {"mlx", "numpy", "datasets", "sentencepiece", "pyarrow", "pandas", "torch", "matplotlib"}


@pytest.fixture
def quick_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "matmul_peak", lambda: 123.456e9)
    monkeypatch.setattr(peaks, "copy_peak", lambda: 7.89e9)


def info() -> dict[str, Any]:
    finished = succeeded(call("info", "--json"))
    assert finished.err == "" and len(finished.out.splitlines()) == 1
    return dict(json.loads(finished.out))


def test_info_shows_this_machine_and_its_measured_peaks(place: Path) -> None:
    shown = info()
    described = to_plain(describe())
    del described["state"]
    assert {name: shown[name] for name in described} == described
    assert set(shown["state"]) == {"power", "thermal", "load_average", "lid", "other_cores"}
    assert shown["python"] == platform.python_version() and shown["device"] and shown["blas"] and shown["blas_note"]
    assert shown["versions"]["mlx"] == importlib.metadata.version("mlx")
    assert shown["versions"]["mlx_tiny"] == mlx_tiny.__version__
    assert 1 <= shown["lanes"] <= max(1, shown["cores"])
    assert all(shown[f"why {name}"] for name in shown["implementations"])
    assert shown["matmul_gflop_per_s"] > 0.1 and shown["copy_gb_per_s"] > 0.1
    assert (shown["cache"], shown["cache_bytes"]) == (str(place / "home"), 0)
    assert not (place / "home").exists()


@pytest.mark.usefixtures("quick_peaks")
def test_the_cache_is_weighed(place: Path) -> None:
    (place / "home" / "a" / ".b").mkdir(parents=True)
    for path, size in (("one", 1000), ("a/two", 200), ("a/.b/three", 34)):
        (place / "home" / path).write_bytes(b"x" * size)
    assert info()["cache_bytes"] == 1234
    assert info_command._folder_bytes(place / "home") == 1234


@pytest.mark.usefixtures("quick_peaks")
def test_text_is_the_same_facts_a_line_each() -> None:
    shown = info()
    lines = dict(line.split(": ", 1) for line in succeeded(call("info")).out.splitlines())
    for name, value in shown.items():
        if value is None:
            assert name not in lines
        elif isinstance(value, dict):
            assert lines[name] == ", ".join(f"{key} {inner}" for key, inner in value.items() if inner is not None)
        else:
            assert lines[name] == (format_bytes(value) if name.endswith("_bytes") else str(value))
    assert lines["matmul_gflop_per_s"] == "123.5" and lines["copy_gb_per_s"] == "7.9"


def test_help_is_quick() -> None:
    """In processor time, which does not depend on other tests."""
    durations = []
    for _ in range(3):
        before = os.times()
        subprocess.run([*MODULE, "--help"], env=environment(), capture_output=True, check=True)
        after = os.times()
        durations.append(sum(after[2:4]) - sum(before[2:4]))
    assert min(durations) < HELP_SECONDS, durations


@functools.cache
def loaded_after(command: str) -> set[str]:
    """Packages that a process has imported after `mlx-tiny COMMAND`."""
    code = (
        "import sys\n"
        "from mlx_tiny.cli import main\n"
        f"try: main({command.split()!r})\n"
        "except SystemExit: pass\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    return set(ast.literal_eval(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("command", ["--help", "--version", *(f"{name} --help" for name in COMMANDS), "train --foo"])
def test_help_imports_nothing_heavy(command: str) -> None:
    assert "click" in loaded_after(command)
    assert not loaded_after(command) & HEAVY


def test_the_version_is_the_packages() -> None:
    finished = succeeded(call_process("--version"))
    assert finished.out == f"mlx-tiny, version {mlx_tiny.__version__}\n"


def test_help_lists_every_command() -> None:
    for arguments in (["--help"], ["-h"]):
        out = " ".join(succeeded(call(*arguments)).out.split())
        assert all(f" {name} {line} " in f"{out} " for name, line in COMMANDS.items())
    nothing = call()
    assert nothing.code == 2 and " train " in nothing.err + nothing.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_its_help(name: str) -> None:
    flags = [flag for parameter in parameters(name) for flag in parameter.opts]
    out = succeeded(call(name, "--help-all" if "--help-all" in flags else "--help")).out
    for parameter in parameters(name):
        if isinstance(parameter, click.Option):
            assert parameter.help and parameter.help.strip()[-1] in ".]", parameter.name
            assert all(flag in out for flag in parameter.opts if flag.startswith("--"))


def test_train_has_a_flag_for_every_setting_with_its_default() -> None:
    out = " ".join(succeeded(call("train", "--help-all")).out.split())
    described = {flag: parameter for parameter in parameters("train") for flag in parameter.opts}
    for section, kind in SECTIONS.items():
        for field in dataclasses.fields(kind):
            if (section, field.name) != ("model", "vocabulary_size"):
                option = described[flag_name(section, field.name)]
                text = " ".join(str(getattr(option, "help", "")).split())
                assert text.endswith(f" [default: {shown_default(section, field)}]") and len(text) > 30
                assert f"{option.opts[-1]} " in out and text in out


def test_help_of_train_begins_with_ten_options_at_most() -> None:
    flags = re.findall(r"^  (?:-\w, )?(--[\w-]+)", succeeded(call("train", "--help")).out, re.MULTILINE)
    assert {"--data", "--budget", "--preset", "--help-all", "--help"} <= {*flags}
    assert len({*flags} - {"--help-all", "--help"}) <= 10


def test_help_of_train_has_a_heading_for_each_section() -> None:
    out = succeeded(call("train", "--help-all")).out
    headings = re.findall(r"^(\w+):$", out, re.MULTILINE)
    assert headings == ["Data", "Model", "Optimizer", "Schedule", "Run", "Output", "Options"]
    assert out.index("\nModel:") < out.index(" --layers ") < out.index("\nOptimizer:")


def test_help_names_the_preset_where_that_decides() -> None:
    train = {parameter.opts[-1]: parameter.help for parameter in parameters("train")}
    for flag, default in {"--layers": "that of the preset", "--samples": "3", "--preset": "auto"}.items():
        assert train[flag].endswith(f"[default: {default}]")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_in_help_are_understood(name: str) -> None:
    examples = re.findall(r"^ +mlx-tiny (.*)$", succeeded(call(name, "--help")).out, re.MULTILINE)
    assert examples or name == "info"
    for example in examples:
        command, *arguments = shlex.split(example)
        assert command == name
        # Below a context, since click keeps the help option that it makes at first.
        context = click.Context(cli, **cli.context_settings)
        cli.get_command(context, command).make_context(command, arguments, parent=context)  # type: ignore[union-attr]


def parameters(name: str) -> list[click.Parameter]:
    context = click.Context(cli, **cli.context_settings)
    command = cli.get_command(context, name)
    assert command is not None
    return command.get_params(click.Context(command, info_name=name, parent=context))
