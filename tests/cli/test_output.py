"""What strangers wrote, such as names, texts and tables, reaches a terminal printable and in bounds."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mlx_tiny.errors import UNPRINTABLE

from .cases import TRAIN, USAGE, USER
from .command_line import FEW_PAUSES, ROOT, Finished, call, files_below, succeeded, write_notes

NASTY = "a\x1b[31m\x9b2J\u202eb\n\x7fc"
NAME = f"{NASTY}.txt"
LONGEST_MESSAGE = 10_000


@pytest.fixture
def nasty(place: Path) -> Path:
    """A text whose name and documents would change a terminal."""
    whole = write_notes(place / "whole.txt", 60).read_text(encoding="utf-8").replace("Ann", NASTY)
    (place / NAME).write_text(whole, encoding="utf-8")
    return place


def assert_printable(text: str) -> None:
    found = UNPRINTABLE.search(text)
    assert found is None, text[max(0, found.start() - 200) : found.end() + 20].encode("unicode_escape")


def printed(*arguments: str | Path) -> Finished:
    finished = succeeded(call(*arguments))
    assert_printable(finished.out + finished.err)
    return finished


def test_nothing_that_is_printed_or_reported_is_obeyed_by_a_terminal(nasty: Path) -> None:
    run = nasty / f"run {NASTY}"
    printed("data", "show", NAME, "--preset", "tiny", "--vocabulary-size", "400")
    train = (
        "train",
        "--preset",
        "tiny",
        "--data",
        NAME,
        "--vocabulary-size",
        "400",
        "--width",
        "32",
        "--context",
        "32",
    )
    trained = printed(*train, "--budget", "600tok", *FEW_PAUSES, "--run", run)
    assert trained.results()["run"].startswith(str(nasty)), "each result is one line"
    printed("eval", run, NAME)
    assert len(printed("score", run, NAME).out.splitlines()) == 61
    printed("predict", run, NAME, "--top", "1")
    for name, content in files_below(run).items():
        if name.endswith((".md", ".json")):
            assert_printable(content.decode())
    scored = json.loads(printed("score", run, NAME, "--json").out)["documents"]
    assert any(NASTY in row["beginning"] for row in scored), "JSON spells what is unprintable, and loses nothing"


def test_a_table_and_its_schema_are_printable(place: Path) -> None:
    rows = [f"C{number % 7},{NASTY[:3]}{number % 5},2010-12-{1 + number % 28:02}" for number in range(300)]
    (place / "t.csv").write_text("\n".join(["customer\x1b[1m,article\x9b\u202e,day", *rows]), encoding="utf-8")
    printed("data", "describe", "t.csv")
    printed("data", "describe", "t.csv", "--out", "schema.yaml")
    assert_printable((place / "schema.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((NASTY * 100_000,), USAGE),
        (("train", NASTY * 100_000), USAGE),
        (("train", f"--{NASTY * 100_000}"), USAGE),
        (("train", "--layers", NASTY * 100_000), USAGE),
        ((*TRAIN, "--data", "absent" + NASTY), USER),
        ((*TRAIN, "--data", "x" * 100_000), USER),
        ((*TRAIN, "--activation", NASTY * 100_000), USAGE),
        ((*TRAIN, "--data", "wide.csv", "--text-column", NASTY), USER),
        ((*TRAIN, "--data", "wide.csv"), USER),
        (("generate", NASTY), USER),
    ],
)
def test_errors_are_printable_and_bounded(arguments: tuple[str, ...], code: int, place: Path) -> None:
    heading = ",".join(f"column\x1b[5m {number}" for number in range(20_000))
    (place / "wide.csv").write_text(f"{heading}\n{'x,' * 19_999}x\n" * 3)
    finished = call(*arguments)
    assert (finished.code, finished.out) == (code, "")
    assert len(finished.err) < LONGEST_MESSAGE
    assert_printable(finished.err)
    assert len([line for line in finished.err.splitlines() if re.match("mlx-tiny: |Error: ", line)]) == 1
    assert re.match("mlx-tiny: |Error: ", finished.err.splitlines()[-1])


def test_commands_print_through_one_module() -> None:
    """So that what is printed next is printable too."""
    direct = re.compile(r"\bprint\(|\becho\(|\bsys\.std(out|err)\.write")
    files = [path for path in (ROOT / "mlx_tiny" / "cli").glob("*.py") if path.name != "output.py"]
    assert [path.name for path in files if direct.search(path.read_text(encoding="utf-8"))] == []
