"""Study files and the command line become arms, and arms become commands."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import pytest

from mlx_tiny.errors import TinyError
from mlx_tiny.study.arms import Arm, Description, parse_seeds, parse_shares, parse_vary, read_description

COMMAND = "{python} other.py --seed={seed} --for {budget} --to {output}"


def described(tmp_path: Path, text: str) -> Description:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return read_description(path)


def test_a_file_becomes_arms(tmp_path: Path) -> None:
    found = described(
        tmp_path,
        f"""
budget: 1Mtok
seeds: 0,3
options: --data 'my notes.txt'
arms:
  base:
  "on": --width 96
  other: {{command: "{COMMAND}", budget: 2m}}
""",
    )
    assert found.seeds == "0,3"
    assert found.assembled() == [
        Arm("base", "1Mtok", "--data 'my notes.txt'"),
        Arm("on", "1Mtok", "--data 'my notes.txt' --width 96"),
        Arm("other", "2m", "", COMMAND),
    ]


def test_settings_are_varied_in_all_combinations() -> None:
    vary = {"matrix-rate": ["0.01", "1e-2"], "options": ["smear=1,value_embeddings=4"]}
    names = [arm.name for arm in Description(budget="9tok", vary=vary).assembled()]
    both = "options=smear=1,value_embeddings=4"
    assert names == [f"matrix-rate=0.01 {both}", f"matrix-rate=1e-2 {both}"]
    arms = {"a": {}, "b": {"command": COMMAND}}
    found = Description(options="--width 8", arms=arms, vary={"rate": ["1", "2"]}).assembled()
    assert [(arm.name, arm.options) for arm in found] == [
        ("a rate=1", "--width 8 --rate=1"),
        ("a rate=2", "--width 8 --rate=2"),
        ("b rate=1", "--rate=1"),
        ("b rate=2", "--rate=2"),
    ]


def test_a_run_is_one_command(tmp_path: Path) -> None:
    command, report = Arm("a", "1Mtok", "--data 'my notes.txt'").words(7, 0.25, tmp_path)
    assert report == tmp_path / "run" / "report.json"
    run = str(tmp_path / "run")
    given = ["--budget", "250000tok", "--seed", "7", "--run", run, "--measured-bytes", "all"]
    assert command == [sys.executable, "-m", "mlx_tiny", "train", *given, "--data", "my notes.txt"]
    command, output = Arm("b", "5m", "--rate=1", COMMAND).words(7, 1, tmp_path)
    assert command[2:] == [sys.executable, "other.py", "--seed=7", "--for", "5m", "--to", str(output), "--rate=1"]
    assert Arm("c", "5m", "", COMMAND).words(7, 0.5, tmp_path)[0][6] == "150s"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("arm: {}", r"Unknown key 'arm' in the study file .*one of budget, seeds"),
        ("arms: {a: {option: x}}", "Unknown key 'option' in the arm 'a'"),
        ("arms: {a: x, a: y}", "Line 1 of .*'a' occurs twice"),
        ("arms: [a, b]", "malformed"),
        ("", "malformed.* names with values"),
        ("budget: [1m]", "budget of study .*is not a text"),
        ("arms: {a: {options: [x]}}", "options of a .*is not a text"),
        ("vary: {matrix-rate: 0.01}", "needs values to vary"),
        ("arms: {a: }}", "not valid YAML"),
        ("arms: {a: '--budget=3m'}", "The study itself gives --budget"),
        ("arms: {a: {command: 'python x {seed} {budget}'}}", "lacks {output}"),
        ('arms: {a: "\'"}', "cannot be told apart"),
        ("budget: 5kJ", "joules"),
        ("vary: {rate: [1, 1]}", "two of one name"),
        ("budget: " + "[" * 5000, "not valid YAML"),
        (
            "budget: [&a [x], " + "".join(f"&{b} [{','.join(['*' + a] * 99)}]," for a, b in pairwise("abcdefgh")) + "]",
            "list",
        ),
        ("vary: {a: &a [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], b: *a, c: *a, d: *a}", "too many arms"),
    ],
)
def test_what_is_no_study_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TinyError, match=words):
        described(tmp_path, text).assembled()


def test_seeds_and_settings_are_read() -> None:
    assert parse_seeds("3") == [0, 1, 2] and parse_seeds("3, 1,20") == [3, 1, 20] and parse_seeds("7,") == [7]
    for wrong in ("", "0", "1,1", "1;2", "-1", "a", ",", "10001", "9" * 5000):
        with pytest.raises(TinyError, match="seeds"):
            parse_seeds(wrong)
    assert parse_shares("1,0.1") == [0.1, 1]
    for wrong in ("", "0", "2", "a", "nan", "0.1;1"):
        with pytest.raises(TinyError, match="shares"):
            parse_shares(wrong)
    assert parse_vary("--matrix-rate=0.01,0.02") == ("matrix-rate", ["0.01", "0.02"])
    for wrong in ("matrix-rate", "=1", "rate=", "rate=1,,2"):
        with pytest.raises(TinyError, match="--vary"):
            parse_vary(wrong)
