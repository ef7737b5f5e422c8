"""The account of a run, with a clock that tests control."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_tiny.errors import TinyError
from mlx_tiny.training.budget import Budget, Milestones


class Clock:
    """A clock that shows the time to which it was set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_clock_runs_from_the_first_start() -> None:
    clock = Clock()
    budget = Budget("10s", clock=clock)
    clock.now += 5
    assert budget.seconds == 0
    budget.start()
    clock.now += 2
    assert budget.seconds == 2
    budget.start()
    clock.now += 3
    assert (budget.seconds, budget.spent, budget.fraction) == (5, 5, 0.5)


def test_a_resumed_run_goes_on_with_its_account() -> None:
    clock = Clock()
    budget = Budget("100s", spent_tokens=50, spent_flops=7.0, spent_s=40.0, clock=clock)
    assert (budget.seconds, budget.fraction) == (40, 0.4)
    budget.start()
    clock.now += 10
    budget.charge(5, 1.5)
    assert (budget.seconds, budget.spent_tokens, budget.spent_flops) == (50, 55, 8.5)
    assert Budget("100tok", 50, 7.0, 40.0).fraction == 0.5
    assert Budget("14flop", 50, 7.0, 40.0).fraction == 0.5
    assert Budget("6steps", 50, 7.0, 40.0, spent_steps=3).fraction == 0.5


@pytest.mark.parametrize(("text", "spent"), [("1ktok", 300), ("1kflop", 30.0), ("1ksteps", 3)])
def test_the_unit_decides_what_counts(text: str, spent: float) -> None:
    clock = Clock()
    budget = Budget(text, clock=clock)
    budget.start()
    for _ in range(3):
        budget.charge(100, 10.0)
        clock.now += 999
    assert budget.spent == spent
    assert budget.fraction == pytest.approx(spent / 1000)


@given(amount=st.integers(1, 10_000), step=st.integers(1, 500), past=st.integers(0, 5000))
def test_it_ends_as_near_as_steps_allow(amount: int, step: int, past: int) -> None:
    budget = Budget(f"{amount}tok", spent_tokens=past)
    while not budget.exhausted(step):
        budget.charge(step, 0.0)
    if budget.spent_tokens > past:
        assert abs(budget.spent_tokens - amount) <= step / 2
    assert budget.spent_tokens + step / 2 >= amount


def test_the_last_step_is_taken_where_more_than_half_of_it_fits() -> None:
    clock = Clock()
    budget = Budget("10s", clock=clock)
    budget.start()
    clock.now += 9
    assert not budget.exhausted(1.9)
    assert budget.exhausted(2.0)
    clock.now += 1
    assert budget.exhausted(0.0)
    assert not Budget("10s").exhausted(0.0)


def test_joules_are_refused_with_a_remedy() -> None:
    with pytest.raises(TinyError, match=r"reads no energy meter.*Use for example"):
        Budget("5kJ")


@pytest.mark.parametrize("text", ["", "5", "-5m", "0tok", "5m3tok"])
def test_an_invalid_amount_is_refused(text: str) -> None:
    with pytest.raises(TinyError):
        Budget(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("5m", "5m00s of wall-clock time"),
        ("20Mtok", "20M tokens"),
        ("1e15flop", "1P FLOPs"),
        ("1.5Tflop", "1.50T FLOPs"),
        ("500steps", "500 steps"),
    ],
)
def test_a_budget_in_words(text: str, words: str) -> None:
    assert Budget(text).describe() == words


@given(count=st.integers(1, 50), steps=st.integers(1, 300), resumed_at=st.floats(0, 1), exactly=st.booleans())
def test_milestones_are_due_once_each(count: int, steps: int, resumed_at: float, exactly: bool) -> None:
    milestones = Milestones(count, 0.0)
    due = [step / steps for step in range(1, steps + 1) if milestones.due(step / steps)]
    assert len(due) == len({math.ceil(k / count * steps - 1e-9) for k in range(1, count)})
    assert not milestones.due(2.0)
    if exactly:
        resumed_at = round(resumed_at * count) / count
    rest = Milestones(count, resumed_at)
    assert not rest.due(resumed_at)
    assert rest.due(1.0) == any(k / count > resumed_at for k in range(1, count))
