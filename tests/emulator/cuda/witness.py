"""The table of `mlx-tiny validate --kernels`, its kernels run by an NVIDIA GPU, and the record of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from emulator.cuda.driver import Card
from emulator.cuda.launches import Buffer, Launch, kernels_run_by
from emulator.cuda.translation import CudaText
from mlx_tiny.cli.validate_command import validate_kernels
from mlx_tiny.errors import CheckFailed
from mlx_tiny.validate import kernels
from mlx_tiny.validate.kernels import Case, Check

# The compiled form of a text for a lane map.
Compile = Callable[[CudaText, str], bytes]


def run_on(card: Card, compile_text: Compile) -> Callable[[Launch], list[Buffer]]:
    """What launches on the card; each text is compiled once."""
    compiled = functools.cache(compile_text)

    def run(launch: Launch) -> list[Buffer]:
        return card.run(
            compiled(launch.kernel, launch.lane_map),
            threadgroups=launch.threadgroups,
            threads=launch.threads,
            buffers=launch.buffers,
            written=launch.written,
        )

    return run


def hear(card: Card, compile_text: Compile, lane_map: str = "apple") -> list[Check]:
    """Print the table, line by line as the results come, and return it.

    Args:
        card: runs the kernels.
        compile_text: makes what the card takes.
        lane_map: of 8x8 matrices, "apple" or "other".
    """
    checks: list[Check] = []
    genuine = kernels.cases

    def kept() -> Iterator[_Kept]:
        return (_Kept(case, checks) for case in genuine())

    with mock.patch.object(kernels, "cases", kept), kernels_run_by(run_on(card, compile_text), lane_map):
        try:
            validate_kernels()
        except CheckFailed:
            # The caller has a remedy of its own.
            assert not all(check.passed for check in checks)
    return checks


@dataclass(frozen=True)
class _Kept:
    """A case whose checks are kept as well."""

    case: Case
    kept: list[Check]

    def checks(self) -> list[Check]:
        checks = self.case.checks()
        self.kept.extend(checks)
        return checks


def record(checks: list[Check], about: dict[str, Any]) -> dict[str, Any]:
    """What is written down: where it ran, and for each kernel and type how many results, and the worst."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for check in checks:
        row = rows.setdefault(
            (check.kernel, check.dtype),
            {"kernel": check.kernel, "dtype": check.dtype, "results": 0, "failed": [], "worst_error_over_allowed": 0.0},
        )
        row["results"] += 1
        if check.passed:
            ratio = check.error / check.allowed if check.allowed else 0.0
            row["worst_error_over_allowed"] = max(row["worst_error_over_allowed"], round(ratio, 4))
        else:
            row["failed"].append({"shape": check.shape, "error": str(check.error), "note": check.note})
    failed = sum(not check.passed for check in checks)
    return {**about, "results": len(checks), "failed": failed, "kernels": list(rows.values())}
