"""Layer 4: a short training by MLX and by the reference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlx_tiny.data.stories import StoryGrammar
from mlx_tiny.optim import schedule
from mlx_tiny.validate import trajectory
from mlx_tiny.validate.table import FAILED
from mlx_tiny.validate.trajectory import Training, story_bytes

from .small import train_on_little

pytestmark = pytest.mark.torch
STEPS = 30


@pytest.fixture(autouse=True, scope="module")
def little() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        train_on_little(patch)
        yield


@pytest.fixture(scope="module")
def training(little: None) -> Training:
    return Training(STEPS)


def test_losses_of_mlx_and_the_reference_fall_together(training: Training) -> None:
    rows = [question.row() for question in training.comparisons()]
    assert [(row.operation, row.verdict) for row in rows] == [
        ("losses of steps 1 to 20", "ok"),
        ("losses of steps 1 to 30", "ok"),
    ]
    assert (rows[0].allowed, rows[1].allowed) == (1e-5, 1e-3) and 0 < rows[0].relative < 1e-5
    curves = training.curves
    assert curves is training.curves and len(curves.ours) == len(curves.reference) == STEPS
    assert curves.ours[0] == pytest.approx(np.log(256), rel=1e-5) and curves.ours[-1] < curves.ours[0] - 1


def test_the_first_step_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = schedule.rate_multiplier
    monkeypatch.setattr(
        schedule, "rate_multiplier", lambda c, fraction: genuine(c, fraction) * (1 - 0.1 * (fraction > 0.2))
    )
    row = next(Training(STEPS).comparisons()).row()
    # The first rate that differs is that of step 8; the loss after it belongs to step 9.
    assert (row.verdict, row.result) == (FAILED, "step 9")


def test_a_loss_that_is_no_number_fails(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Training(STEPS)
    ours = training.curves.ours.copy()
    ours[3] = np.nan
    curves = trajectory.Curves(ours, training.curves.reference, training.curves.weights)
    monkeypatch.setattr(other, "_trained", lambda: curves)
    assert [question.row().result for question in other.comparisons()] == ["step 4", "step 4"]


def test_a_training_that_breaks_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def broken(*_) -> None:
        asked.append(1)
        raise ZeroDivisionError("float division by zero")

    other = Training(STEPS)
    monkeypatch.setattr(other, "_by_mlx", broken)
    rows = [question.row() for question in other.comparisons()]
    assert [row.verdict for row in rows] == [FAILED, FAILED] and len(asked) == 1 and other.broken
    assert {row.note for row in rows} == {"ZeroDivisionError: float division by zero"}


def test_a_keyboard_interrupt_ends_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_) -> None:
        raise KeyboardInterrupt

    other = Training(STEPS)
    monkeypatch.setattr(other, "_by_mlx", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _ = other.broken


def test_the_text_is_the_stories() -> None:
    text = story_bytes(5000, seed=4)
    assert text.dtype == np.uint16 and len(text) == 5000
    assert text.astype(np.uint8).tobytes().decode(errors="ignore").startswith(StoryGrammar().story(4, 0).text)
    assert not np.array_equal(text, story_bytes(5000, seed=5))


def test_the_curves_are_drawn(training: Training, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (the extra `plot`)")
    training.plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
