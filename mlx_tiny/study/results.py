"""The file of a study, complete after each run, and the order in which the runs are done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlx_tiny.errors import TinyError
from mlx_tiny.files import make_folder, remove_leftovers, require_writable
from mlx_tiny.records import Record, read, write
from mlx_tiny.study.arms import Arm
from mlx_tiny.study.comparison import Comparison, compare
from mlx_tiny.study.runs import PLAIN, Run, perform
from mlx_tiny.tools.locks import locked
from mlx_tiny.units import format_count, format_seconds


@dataclass(frozen=True)
class StudyFile(Record):
    """The file of a study."""

    kind = "study"
    version = 3

    arms: list[Arm]
    """The others are compared with the first."""
    comparisons: list[Comparison]
    runs: list[Run]


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other studies from a file of results inside the block.

    Raises:
        TinyError: another process is at work on it, or it cannot be written.
    """
    make_folder(path.parent)
    require_writable(path)
    with locked(path.with_name(f".{path.name}.lock"), f"Another study is writing {path}"):
        yield


class Results:
    """The runs of a study, in a file that is complete at every moment.

    More seeds and arms can be added to those of the file.

    Raises:
        TinyError: the file is damaged, or has other arms of the same names, or another first arm.
    """

    def __init__(self, path: Path, arms: Sequence[Arm]) -> None:
        self.path, self.arms, self.runs = path, list(arms), list[Run]()
        make_folder(path.parent)
        require_writable(path)
        remove_leftovers(path.parent, path.name)
        if path.exists():
            found = read(path, StudyFile, "results of the study")
            known = {arm.name: arm for arm in found.arms}
            for arm in arms:
                if known.get(arm.name, arm) != arm or found.arms[0] != arms[0]:
                    raise TinyError(
                        f"{path} contains the results of another study",
                        expected=known.get(arm.name, found.arms[0]),
                        got=arm,
                        remedy="Name another file with --output, or remove this one",
                    )
            self.arms = list({**known, **{arm.name: arm for arm in arms}}.values())
            self.runs = found.runs

    @property
    def record(self) -> StudyFile:
        """The content of the file."""
        return StudyFile(self.arms, compare(self.arms, self.runs), self.runs)

    def of(self, arm: Arm, share: float) -> list[Run]:
        """All runs of an arm at this share of its budget."""
        return [run for run in self.runs if (run.arm, run.share) == (arm.name, share)]

    def add(self, run: Run) -> None:
        """Add a run to the file."""
        self.runs.append(run)
        write(self.path, self.record)

    def forget(self, unwanted: Callable[[Run], bool]) -> int:
        """Drop runs, so that they are done again; returns how many."""
        before, self.runs = len(self.runs), [run for run in self.runs if not unwanted(run)]
        return before - len(self.runs)


def carry_out(
    results: Results, arms: Sequence[Arm], seeds: Sequence[int], share: float, tell: Callable[[str], None]
) -> None:
    """Do the runs that are missing: seed by seed, the arms by turns in one order and in the other."""
    done = {(run.arm, run.seed) for run in results.runs if run.share == share}
    missing = [(arm, seed) for arm, seed in _order(arms, seeds) if (arm.name, seed) not in done]
    if missing:
        tell(f"runs: {len(missing)} (arms: {len(arms)}, seeds: {len(seeds)}){_at(share)}")
    took_s = 0.0
    for number, (arm, seed) in enumerate(missing, 1):
        run = perform(arm, seed, share, results.path)
        results.add(run)
        took_s += run.wall_s
        left_s = took_s / number * (len(missing) - number)
        left = f"; about {format_seconds(left_s)} left" if left_s else ""
        tell(f"run {number} of {len(missing)}: {arm.name}, seed {seed}: {_line(run)}{left}")


def _at(share: float) -> str:
    return "" if share == 1 else f" at {share:.3g} of the budget"


def _order(arms: Sequence[Arm], seeds: Sequence[int]) -> Iterator[tuple[Arm, int]]:
    for number, seed in enumerate(seeds):
        for arm in arms if number % 2 == 0 else reversed(arms):
            yield arm, seed


def _line(run: Run) -> str:
    if run.failure is not None:
        return f"FAILED: {run.failure}"
    line = f"{run.figures[PLAIN]:.4f} bits per byte"
    if "tokens" in run.figures and "seconds" in run.figures:
        line += f", {format_count(run.figures['tokens'])} tokens in {format_seconds(run.figures['seconds'])}"
    return line + (f"; DISTURBED: other programs took {run.other_cores} cores" if run.disturbed else "")


def halve(results: Results, arms: Sequence[Arm], seeds: Sequence[int], tell: Callable[[str], None]) -> None:
    """Successive halving: all arms at a small share of their budget, and the better half of them at twice as much,
    until two are left, which spend it whole. The first arm, with which the others are compared, stays in each round.

    An arm of which a run fails is out. The same seeds are taken in each round.
    """
    left, rounds = list(arms), max(0, (len(arms) - 1).bit_length() - 1)
    for number in range(rounds + 1):
        share = 0.5 ** (rounds - number)
        tell(f"round {number + 1} of {rounds + 1}: {len(left)} arms{_at(share)}")
        carry_out(results, left, seeds, share, tell)
        strengths = {arm.name: _strength(results, arm, share, seeds) for arm in left}
        ranked = sorted((bits, name) for name, bits in strengths.items() if bits is not None)
        kept = {name for _, name in ranked[: (len(left) + 1) // 2]}
        left = [arm for arm in left if arm is arms[0] or arm.name in kept]


def _strength(results: Results, arm: Arm, share: float, seeds: Sequence[int]) -> float | None:
    """Sum of the bits per byte over the seeds; None where a run failed."""
    bits = [run.figures.get(PLAIN) for run in results.of(arm, share) if run.seed in seeds]
    return None if None in bits else sum(value for value in bits if value is not None)
