"""Rows of the table: the error of each result, and the largest error allowed."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.ops.conformance import Result
from mlx_tiny.records import Record
from mlx_tiny.tools.tables import wrapped

OK, FAILED, LEFT_OUT = "ok", "FAILED", "left out"
HEADER = f"  {'':<36}{'dtype':>9}{'relative':>9}{'allowed':>9}{'s':>6}  verdict"
LEGEND = (
    "relative: largest error over the largest number expected; allowed: the bound, with its reason in tolerances.py; "
    "s: seconds"
)
_LABEL = 36


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    layer: str
    operation: str
    case: str
    """Shapes, sizes, settings."""
    dtype: str
    result: str
    """The first result whose error is larger than allowed, else the one closest to its bound."""
    absolute: float
    """Largest absolute error of that result."""
    relative: float
    """The same, divided by the largest expected magnitude."""
    allowed: float
    """Relative error allowed."""
    seconds: float
    """Time for the result and its reference together."""
    verdict: str
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.verdict != FAILED

    @property
    def place(self) -> str:
        """The operation, and its result or, if there is none, the note."""
        return ": ".join(part for part in (self.operation, self.result or self.note) if part)

    def lines(self) -> list[str]:
        """The row in the columns of `HEADER`, and notes below it, within 80 columns."""
        relative, allowed = (f"{number:.1e}" for number in (self.relative, self.allowed))
        if self.verdict == LEFT_OUT:
            relative = allowed = ""
        first, *rest = textwrap.wrap(", ".join(filter(None, [self.operation, self.case])), _LABEL)
        told = ": ".join(filter(None, [self.result if self.verdict == FAILED else "", self.note]))
        figures = f"{self.dtype:>9}{relative:>9}{allowed:>9}{self.seconds:>6.1f}  {self.verdict}"
        return [
            f"  {first:<{_LABEL}}{figures}",
            *(f"    {line}" for line in rest),
            *(wrapped(f"    {told}", indent=4) if told else []),
        ]


@dataclass(frozen=True)
class Report(Record):
    """What `mlx-tiny validate --json` prints."""

    kind = "validation"
    version = 1

    machine: dict[str, str]
    """What computed, line by line."""
    rows: list[Row]
    losses: dict[str, list[float | None]]
    """Losses of both trainings; empty if a training failed or there was none."""
    results: int
    failed: int
    first_failure: str | None
    seconds: float

    @staticmethod
    def of(
        rows: list[Row],
        seconds: float,
        machine: dict[str, str] | None = None,
        losses: dict[str, list[float | None]] | None = None,
    ) -> Report:
        """The summary of all rows."""
        failed = [row for row in rows if not row.passed]
        first = failed[0].place if failed else None
        return Report(machine or {}, rows, losses or {}, len(rows), len(failed), first, round(seconds, 1))


@dataclass(frozen=True)
class Comparison:
    """A comparison with a reference; `row` computes it."""

    layer: str
    operation: str
    case: str
    dtype: str
    run: Callable[[], Sequence[Result]]
    """Computes the results, in their order."""
    note: str = ""
    """A remark about the reference."""
    left_out: bool = False
    """Whether it cannot be computed here, for the reason in `note`."""

    def row(self, seconds: float | None = None) -> Row:
        """Compute the comparison. An exception makes the row fail, so that the other rows are still computed.

        Args:
            seconds: that it took, if it was computed before.
        """
        if self.left_out:
            return self._row("", 0.0, 0.0, 0.0, 0.0, LEFT_OUT, self.note)
        began = time.perf_counter()
        try:
            results = self.run()
            assert results, "nothing was compared"
        except Exception as error:
            # The messages of these types are clear by themselves; others, such as KeyError, need their name.
            known = isinstance(error, (RuntimeError, ValueError, TinyError))
            note = first_line(error) if known else f"{type(error).__name__}: {first_line(error)}"
            return self._row("", math.inf, math.inf, 0.0, time.perf_counter() - began, FAILED, note)
        seconds = time.perf_counter() - began if seconds is None else seconds
        failed = [result for result in results if not result.passed]
        worst = failed[0] if failed else max(results, key=lambda result: result.excess)
        verdict = FAILED if failed else OK
        return self._row(
            worst.name,
            worst.error,
            worst.error / worst.magnitude,
            worst.allowed,
            seconds,
            verdict,
            worst.fault or self.note,
        )

    def _row(
        self, result: str, absolute: float, relative: float, allowed: float, seconds: float, verdict: str, note: str
    ) -> Row:
        return Row(
            self.layer,
            self.operation,
            self.case,
            self.dtype,
            result,
            absolute,
            relative,
            allowed,
            seconds,
            verdict,
            note,
        )
