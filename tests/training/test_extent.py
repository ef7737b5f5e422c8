"""How much of a validation text a run reads at its end depends on its budget alone, whatever the unit."""

from __future__ import annotations

import pytest

from mlx_tiny.config import RunConfig, TrainConfig
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.training.extent import measured_bytes


def read(budget: str, asked: str = "auto") -> int | None:
    return measured_bytes(RunConfig(train=TrainConfig(budget=budget, measured_bytes=asked)))


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("1s", 250_000), ("5m", 250_000), ("30m", 1_000_000), ("239m", 1_000_000), ("4h", 4_000_000), ("30h", 4_000_000)],
)
def test_longer_budgets_read_more(budget: str, expected: int) -> None:
    assert read(budget) == expected


def test_other_budgets_read_what_so_long_a_training_reads_on_two_cores() -> None:
    config = RunConfig()
    flops = 4e10 * 30 * 60
    per_token = training_flops_per_token(config.model)
    per_step = per_token * config.train.batch_size * config.model.context
    for unit, each in (("flop", 1.0), ("tok", per_token), ("steps", per_step)):
        amount = flops / each
        found = [read(f"{factor * amount:.0f}{unit}") for factor in (0.98, 1.02)]
        assert found == [250_000, 1_000_000], unit


def test_the_user_decides() -> None:
    assert read("1s", "all") is None and read("9h", "5000") == 5000
