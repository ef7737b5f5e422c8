"""`mlx-tiny export` and `mlx-tiny train --export`."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.command_line import (
    FEW_PAUSES,
    STEP_TOKENS,
    TINY,
    call,
    strict,
    succeeded,
    workplace,
    write_notes,
    write_purchases,
)
from mlx_tiny.export import check
from mlx_tiny.training.trainer import Trainer

SMALL = (*TINY[2:], *FEW_PAUSES, "--budget", f"{2 * STEP_TOKENS}tok", "--data", "notes.txt")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a text and a run that is exported at its end."""
    with workplace(tmp_path_factory.mktemp("export")) as found, pytest.MonkeyPatch.context() as patch:
        write_notes(found / "notes.txt")
        patch.setattr(check.Program, "missing", lambda self: [self.module])
        done = succeeded(call("train", "--run", "run", "--export", "hf", "--export", "mlx", *SMALL))
        assert "preset: portable" in done.err
        yield found


def test_a_run_is_exported_at_its_end(place: Path) -> None:
    assert {path.name for path in (place / "run" / "export").iterdir()} == {"hf", "mlx"}
    assert "text | notes.txt |" in (place / "run" / "export" / "hf" / "README.md").read_text()


def test_what_is_not_checked_and_not_exported_is_said(place: Path) -> None:
    done = succeeded(call("export", "run", "out", "--to", "hf"))
    assert done.results() == {"export": "out"}
    assert "not checked in transformers" in done.err and "mlx-tiny[export" in done.err
    assert "counting" in done.err
    unchecked = succeeded(call("export", "run", "other", "--to", "hf", "--no-check", "--json"))
    assert "not checked" not in unchecked.err and strict(unchecked.out) == {"export": "other", "checks": []}
    again = call("export", "run", "out", "--to", "hf")
    assert again.code == 1 and "exists already" in again.err


def test_a_difference_is_exit_code_3(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = check.Comparison("stranger 1.0", 1e-2, 500.0, 24, 24, False, 2.0, 2.0, 0.0, 1, 1, True)
    monkeypatch.setattr(check, "compare", lambda *_: [other])
    done = call("export", "run", "wrong", "--to", "mlx")
    assert done.code == 3 and "logits differ" in done.err and not done.out


def test_what_cannot_be_exported_is_refused_before_the_training(place: Path) -> None:
    done = call("train", "--run", "new", "--export", "hf", "--preset", "strongest-tiny", *SMALL)
    assert done.code == 1 and "smear" in done.err
    assert not (place / "new").exists()
    write_purchases(place / "purchases.csv")
    events = ("--data", "purchases.csv", "--schema", "schema.yaml", "--preset", "portable-tiny", "--context", "32")
    succeeded(call("data", "describe", "purchases.csv", "--out", "schema.yaml"))
    done = call("train", "--run", "new", "--export", "hf", *FEW_PAUSES, *events)
    assert done.code == 1 and "tokenizer" in done.err
    assert not (place / "new").exists()
    again = call("train", "--resume", "run", "--budget", f"{4 * STEP_TOKENS}tok", "--export", "mlx")
    assert again.code == 1 and "exists already" in again.err


def test_of_an_interrupted_run_is_said_how_it_is_exported(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Trainer._one_step

    def one_step(self: Trainer) -> None:
        sound(self)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Trainer, "_one_step", one_step)
    done = call("train", "--run", "cut", "--export", "hf", *SMALL)
    assert done.code == 128 + signal.SIGINT and "export cut --to hf" in done.err
    assert not (place / "cut" / "export").exists()
    assert (place / "cut" / "report.json").exists()
