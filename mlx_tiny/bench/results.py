"""The results file of `bench`, and warnings about its results."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from mlx_tiny.bench.kernels import OWN
from mlx_tiny.bench.record import FAILED, WRONG, Benchmarks, Result, Settings
from mlx_tiny.bench.worker import OURS
from mlx_tiny.errors import CheckFailed
from mlx_tiny.machine.description import describe
from mlx_tiny.machine.peaks import Peaks

PEAKS_AGREE_WITHIN = 1.15
"""If the peaks before and after differ by more than this factor, shares of them are doubtful."""


def assemble(results: Sequence[Result], before: Peaks, after: Peaks | None, settings: Settings) -> Benchmarks:
    """The whole file.

    Args:
        before: the peaks with which the results are compared.
        after: the same, measured again at the end; None before the end.
    """
    unfinished = [] if after else ["This is not complete: the measurement had not ended when it was written."]
    return Benchmarks(
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        complete=after is not None,
        settings=settings,
        machine=describe(),
        peaks=before,
        peaks_after=after,
        warnings=[*unfinished, *(changed_peaks(before, after) if after else []), *warnings(results)],
        results=list(results),
    )


def changed_peaks(before: Peaks, after: Peaks) -> list[str]:
    """Warnings, a sentence each, if the peaks at the end differ from those at the beginning."""
    pairs = {
        f"{dtype} products": (first, after.matmul_flops_per_s[dtype], "GFLOP/s")
        for dtype, first in before.matmul_flops_per_s.items()
    }
    pairs["copies"] = (before.copy_bytes_per_s, after.copy_bytes_per_s, "GB/s")
    for what, (first, last, unit) in pairs.items():
        if max(first, last) > PEAKS_AGREE_WITHIN * min(first, last):
            return [
                f"The peak of {what} was {first / 1e9:.0f} {unit} before and {last / 1e9:.0f} {unit} after: shares "
                "of the peak and of the bound may be wrong by as much."
            ]
    return []


def warnings(results: Sequence[Result]) -> list[str]:
    """Warnings about the results, a sentence each."""
    found = []
    timed = [result for result in results if result.time_s is not None]
    wide = [result.time_s.relative for result in timed if result.time_s and result.time_s.overloaded]
    if wide:
        found.append(
            f"The machine was too loaded to measure {len(wide)} of {len(timed)} results: their times spread by more "
            f"than 30 %, up to {max(wide):.0%}. Close other programs, or let the machine cool, and measure again."
        )
    beyond = [result for result in timed if (result.share_of_bound or 0) > 1]
    if beyond:
        found.append(
            f"{len(beyond)} of {len(timed)} results were faster than the peaks allow, the first being "
            f"{beyond[0].title}, {beyond[0].implementation}: the machine can do more than it did when its peaks were "
            "measured, or caches held what is counted as read from memory. Their shares, above 100 % and with a "
            "question mark, are not of a bound."
        )
    wrong = [result for result in results if result.outcome == WRONG]
    return found + [f"{r.title}, {r.implementation}: {r.reason}; its time is not shown." for r in wrong]


def require_right(results: Sequence[Result]) -> None:
    """Check that no implementation of this project failed or was wrong.

    Raises:
        CheckFailed: one was; the error names the first.
    """
    faults = [r for r in results if r.outcome in (FAILED, WRONG) and is_own(r.implementation)]
    if faults:
        raise CheckFailed(
            f"{len(faults)} of this project's own results are wrong or missing; the first is {faults[0].title}, "
            f"{faults[0].implementation}",
            got=str(faults[0].reason).removeprefix("wrong: "),
            remedy="Run `mlx-tiny validate --kernels`, and report what it prints",
        )


def is_own(implementation: str) -> bool:
    """Whether an implementation belongs to this project."""
    return implementation in OWN or implementation.startswith(OURS)
