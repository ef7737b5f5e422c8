"""What a line of progress says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mlx_tiny.cli.display import Display
from mlx_tiny.records import EvaluationRecord, StepRecord

FIRST = StepRecord(
    step=1, loss=6.9, tokens=1000, flops=1e9, seconds=0.4, fraction=0.01, multiplier=0.0, tokens_per_s=2500.0
)


def line(display: Display, record: StepRecord, capsys: pytest.CaptureFixture[str]) -> str:
    display.step(record)
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("budget", "left"), [("15s", "14.6s left"), ("2ktok", "0.40s left"), ("4e9flop", "1.2s left"), ("1Mtok", "")]
)
def test_what_is_left_fits_the_budget(budget: str, left: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The fraction of a step is that at its start, and its seconds are those at its end."""
    shown = line(Display(1.0, 1.0, interactive=False, budget=budget), FIRST, capsys)
    assert left in shown and ("left" in shown) == bool(left)


def test_events_are_measured_in_bits_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display(1.0, 1.0, interactive=False, budget="15s", bytes_per_event=5.0)
    display.evaluation(EvaluationRecord(1, 1000, 0.4, 0.1, 0.7))
    assert "3.500 bits per event" in capsys.readouterr().err
    shown = line(display, replace(FIRST, fraction=0.5), capsys)
    assert "3.500 bits/event" in shown and "bpb" not in shown
