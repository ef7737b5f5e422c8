"""Evaluations and samples have a share of a budget in seconds, and all the time they want in other budgets."""

from __future__ import annotations

import pytest

from mlx_tiny.config import TrainConfig
from mlx_tiny.records import Progress
from mlx_tiny.training.budget import Budget
from mlx_tiny.training.pauses import Pauses, estimated_s


class Session:
    """Pauses of a budget, with a clock that only they move."""

    def __init__(self, budget: str, progress: Progress | None = None) -> None:
        self.moment = 0.0
        self.pauses = Pauses(Budget(budget, clock=lambda: self.moment), progress or Progress())

    def pause(self, name: str, expected_s: float, taken_s: float) -> bool:
        if not self.pauses.allow(name, expected_s):
            return False
        with self.pauses.taking(name):
            self.moment += taken_s
        return True


def test_the_first_is_judged_by_an_estimate_and_others_by_what_such_a_one_took() -> None:
    session = Session("100s")
    assert not session.pause("evaluation", 4.5, 0.1), "it is expected to take more than 4 s"
    assert session.pause("evaluation", 3.0, 1.0) and session.pause("evaluation", 9.0, 1.5)
    assert not session.pause("samples", 2.0, 0.1) and session.pause("samples", 1.0, 0.5)
    assert not session.pause("evaluation", 0.1, 0.1), "two took 2.5 s, and a sample 0.5 s"
    told = session.pauses.described()
    assert told is not None and "evaluation 2, samples 1" in told


def test_earlier_sessions_have_had_a_part_of_the_share() -> None:
    earlier = Progress(phases={"evaluation": 2.0, "samples": 1.0, "training": 90.0})
    assert not Session("100s", earlier).pause("samples", 1.5, 0.1)
    assert Session("200s", earlier).pause("samples", 1.5, 0.1)


@pytest.mark.parametrize("budget", ["1Mtok", "1Tflop", "5steps"])
def test_nothing_is_left_out_of_other_budgets(budget: str) -> None:
    session = Session(budget)
    assert all(session.pause(name, 1e6, 1e6) for name in ("evaluation", "samples") * 3)
    assert session.pauses.described() is None


def test_the_estimate_follows_the_speed_of_training() -> None:
    each = estimated_s(TrainConfig(evaluation_tokens=3000), 1e-3)
    assert each == {"evaluation": pytest.approx(1.0), "samples": pytest.approx(1.8)}
