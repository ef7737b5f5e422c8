"""One run of an arm, in a process of its own, and what it reached and cost."""

from __future__ import annotations

import datetime
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlx_tiny.errors import TinyError
from mlx_tiny.files import folder_aside, read_json
from mlx_tiny.machine.description import Machine, describe
from mlx_tiny.machine.load import OtherPrograms, is_busy
from mlx_tiny.study.arms import Arm
from mlx_tiny.tools.processes import run

PLAIN, COUNTING = "bits_per_byte", "with_counting_bits_per_byte"
"""Strength of the model alone, and of the model mixed with counting."""
FIGURES = (
    PLAIN,
    COUNTING,
    "counting_bits_per_byte",
    "entropy_floor_bits_per_byte",
    "perplexity_per_token",
    "steps",
    "tokens",
    "flops",
    "seconds",
    "tokens_per_s",
    "parameters",
    "peak_memory_bytes",
)
"""What is kept of the report of a run, or of the JSON file of another program, which needs only the first."""
_MOST = 1e30
"""No figure is larger: that many FLOPs are the largest budget."""


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    arm: str
    seed: int
    share: float
    """Of the budget of its arm; below 1 in the first rounds of a search, for example."""
    started: str
    wall_s: float
    """From the start of its process to its end."""
    other_cores: float | None
    """The mean number of cores that other programs took; None where the system does not tell."""
    figures: dict[str, float]
    """By the names in `FIGURES`; none where it failed."""
    failure: str | None
    """The last lines of its output, where it failed."""
    samples: list[str]
    machine: Machine
    text: str | None = None
    """Fingerprint of the text that its strength was measured on; None where another program does not tell."""

    @property
    def disturbed(self) -> bool:
        """Whether other programs are known to have slowed it down."""
        return is_busy(self.other_cores)


def perform(arm: Arm, seed: int, share: float, beside: Path) -> Run:
    """Run an arm once; a run that fails is a result too.

    Args:
        share: of the arm's budget.
        beside: a file beside which the run may have a folder for a while.
    """
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    others, began, failure, values = OtherPrograms(), time.monotonic(), None, dict[str, Any]()
    folder = folder_aside(beside)
    try:
        command, output = arm.words(seed, share, folder)
        run(command, folder / "output.txt", "It", count=3)
        values = read_json(output, "output of the run")
        _require_strength(values, arm)
    except TinyError as error:
        failure = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return Run(
        arm=arm.name,
        seed=seed,
        share=share,
        started=started,
        wall_s=round(time.monotonic() - began, 1),
        other_cores=others.cores(),
        figures={} if failure else figures_of(values),
        failure=failure,
        samples=[] if failure else _texts(values.get("samples")),
        machine=describe(mlx=False),
        text=text if isinstance(text := values.get("evaluation_fingerprint"), str) else None,
    )


def figures_of(values: dict[str, Any]) -> dict[str, float]:
    """What is kept of the values of a report."""
    return {name: values[name] for name in FIGURES if _is_number(values.get(name))}


def _require_strength(values: dict[str, Any], arm: Arm) -> None:
    if not _is_number(values.get(PLAIN)):
        raise TinyError(
            f"The output of {arm.name} has no strength", expected=f"a number {PLAIN} above 0", got=values.get(PLAIN)
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MOST


def _texts(value: Any) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
