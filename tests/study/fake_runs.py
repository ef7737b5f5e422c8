"""Runs of a study that nobody has done."""

from __future__ import annotations

from bench.micro import MACHINE

from mlx_tiny.study.arms import Arm
from mlx_tiny.study.runs import PLAIN, Run

BASE, OTHER = Arm("base", "1Mtok"), Arm("other", "1Mtok", "--matrix-rate 0.02")


def fake_run(
    arm: Arm,
    seed: int,
    bits: float,
    *,
    share: float = 1,
    other_cores: float | None = 0.0,
    failure: str | None = None,
    figures: dict[str, float] | None = None,
) -> Run:
    strength = {} if failure else {PLAIN: bits, "tokens": 1_500_000.0, "seconds": 300.0, **(figures or {})}
    return Run(arm.name, seed, share, "2026-01-02", 310.0, other_cores, strength, failure, ["Once"], MACHINE)
