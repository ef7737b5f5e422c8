"""Shows the progress of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from mlx_tiny.cli.output import say
from mlx_tiny.errors import printable
from mlx_tiny.records import EvaluationRecord, StepRecord
from mlx_tiny.tools.waiting import Waiting, can_draw
from mlx_tiny.training.budget import Budget
from mlx_tiny.units import format_count, format_seconds

# Plain lines come at most once per second, and once per twentieth of the budget.
_SECONDS_BETWEEN_LINES = 1.0
_FRACTION_BETWEEN_LINES = 0.05

# Before this fraction of the budget is spent, the time that is left cannot be estimated.
_FRACTION_TO_JUDGE_BY = 0.005


class Display:
    """Shows a run on the terminal; it is the listener of a `Trainer`.

    Args:
        flops_per_token: of training, to show the utilisation.
        peak_flops_per_s: as measured on this machine.
        interactive: whether to draw a bar; by default on a terminal whose width is known.
        budget: of the run, to show the time that is left.
        bytes_per_event: where the text consists of events, whose bits are shown then.
    """

    def __init__(
        self,
        flops_per_token: float,
        peak_flops_per_s: float,
        interactive: bool | None = None,
        *,
        budget: str | None = None,
        bytes_per_event: float | None = None,
    ) -> None:
        self._interactive = can_draw() if interactive is None else interactive
        self._share_of_peak = flops_per_token / peak_flops_per_s if peak_flops_per_s else 0.0
        self._budget, self._bytes_per_event = budget, bytes_per_event
        self._strength = ""
        self._bar: tqdm[Any] | None = None
        self._last_line = (-1.0, 0.0)
        self._waiting: Waiting | None = None

    def wait(self, what: str, detail: Callable[[], str] = str) -> None:
        """Show that something takes long, until the next step or the end; `detail` says how far it is."""
        self.close()
        self._waiting = Waiting(what, detail)

    def message(self, text: str) -> None:
        """One line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(printable(text), file=sys.stderr)
        else:
            say(text)

    def step(self, record: StepRecord) -> None:
        """Move the bar, or print a line from time to time."""
        self._end_waiting()
        if self._interactive:
            self._draw(record)
            return
        fraction, moment = self._last_line
        now = time.monotonic()
        if now - moment >= _SECONDS_BETWEEN_LINES and record.fraction - fraction >= _FRACTION_BETWEEN_LINES:
            self._last_line = (record.fraction, now)
            say(f"{record.fraction:6.1%}  step {record.step}  {self._figures(record)}")

    def evaluation(self, record: EvaluationRecord) -> None:
        """Print the validation result, and keep it for the next lines."""
        bits = f"{record.validation_bits_per_byte:.4f} bits per byte"
        self._strength = f"  bpb {record.validation_bits_per_byte:.3f}"
        if self._bytes_per_event is not None:
            per_event = record.validation_bits_per_byte * self._bytes_per_event
            bits = f"{per_event:.3f} bits per event, {bits}"
            self._strength = f"  {per_event:.3f} bits/event"
        by_text = f" ({', '.join(f'{value:.4f}' for value in record.by_text)})" if record.by_text else ""
        self.message(f"{record.fraction:6.1%}  step {record.step}  validation {bits}{by_text}")

    def sample(self, fraction: float, text: str) -> None:
        """Show a text that the model has written, line by line."""
        lines = text.strip("\n").split("\n")
        indented = [textwrap.fill(line, width=100, initial_indent="    ", subsequent_indent="    ") for line in lines]
        self.message("\n".join([f"{fraction:6.1%}  a sample:", *indented]))

    def close(self) -> None:
        """Remove the bar, so that other output can follow."""
        self._end_waiting()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None

    def _draw(self, record: StepRecord) -> None:
        if self._bar is None:
            self._bar = tqdm(
                total=100.0,
                bar_format="{percentage:3.0f}%|{bar}| {desc}",
                dynamic_ncols=True,
                file=sys.stderr,
                leave=False,
            )
        self._bar.n = min(100.0, 100.0 * record.fraction)
        self._bar.set_description_str(self._figures(record), refresh=False)
        self._bar.update(0)

    def _figures(self, record: StepRecord) -> str:
        left = self._left_s(record)
        return (
            f"loss {record.loss:.3f}{self._strength}  now {format_count(record.tokens_per_s)} tok/s"
            f"  mfu {record.tokens_per_s * self._share_of_peak:.0%}"
            + (f"  {format_seconds(left)} left" if left is not None and left > 0 else "")
        )

    def _left_s(self, record: StepRecord) -> float | None:
        """Seconds until the budget is spent, at the speed so far; None where that is not known."""
        if self._budget is None:
            return None
        account = record.tokens, record.flops, record.seconds
        fraction = Budget(self._budget, *account, spent_steps=record.step).fraction
        return record.seconds * (1 / fraction - 1) if fraction > _FRACTION_TO_JUDGE_BY else None


class PreparationProgress:
    """Shows the progress of data preparation, phase by phase."""

    def __init__(self) -> None:
        self._waiting, self._share = Waiting("data"), ""

    def __call__(self, phase: str, done: float, total: float) -> None:
        """Show that `done` of `total` bytes of `phase` are done."""
        what = f"data: {printable(phase)}"
        if what != self._waiting.what:
            self._waiting.close()
            self._waiting = Waiting(what, lambda: self._share)
        self._share = f"{done / total:.0%}" if done and total else ""

    def close(self) -> None:
        """Nothing more is to be shown."""
        self._waiting.close()
