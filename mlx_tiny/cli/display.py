"""What a person sees of a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import textwrap
import time
import unicodedata
from typing import Any

import click
from tqdm import tqdm

from mlx_tiny.records import EvaluationRecord, StepRecord
from mlx_tiny.units import format_count, format_seconds

# Plain lines: at most one a second and one a twentieth of the budget.
_SECONDS_BETWEEN_LINES = 1.0
_FRACTION_BETWEEN_LINES = 0.05

# Before this share of the budget, the time left cannot be told from the time spent.
_FRACTION_TO_JUDGE_BY = 0.005


class Display:
    """Draws a run on the terminal; the trainer's listener.

    Args:
        flops_per_token: of training, for the utilisation.
        peak_flops_per_s: measured on this machine.
        interactive: whether to draw a bar; by default on a terminal that knows its width.
    """

    def __init__(self, flops_per_token: float, peak_flops_per_s: float, interactive: bool | None = None) -> None:
        self._interactive = _can_draw() if interactive is None else interactive
        self._share_of_peak = flops_per_token / peak_flops_per_s if peak_flops_per_s else 0.0
        self._bits_per_byte: float | None = None
        self._bar: tqdm[Any] | None = None
        self._last_line = (-1.0, 0.0)

    def message(self, text: str) -> None:
        """One line, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            click.echo(text, err=True)

    def step(self, record: StepRecord) -> None:
        """Move the bar, or print a line now and then."""
        if self._interactive:
            self._draw(record)
            return
        fraction, moment = self._last_line
        now = time.monotonic()
        if now - moment >= _SECONDS_BETWEEN_LINES and record.fraction - fraction >= _FRACTION_BETWEEN_LINES:
            self._last_line = (record.fraction, now)
            click.echo(f"{record.fraction:6.1%}  step {record.step}  {self._figures(record)}", err=True)

    def evaluation(self, record: EvaluationRecord) -> None:
        """Remember and print the validation result."""
        self._bits_per_byte = record.validation_bits_per_byte
        bits = f"{record.validation_bits_per_byte:.4f} bits per byte"
        self.message(f"{record.fraction:6.1%}  step {record.step}  validation {bits}")

    def sample(self, fraction: float, text: str) -> None:
        """Show a story written by the model as it is now."""
        words = " ".join(printable(text).split())
        shown = textwrap.fill(words, width=100, initial_indent="    ", subsequent_indent="    ")
        self.message(f"{fraction:6.1%}  a sample:\n{shown}")

    def close(self) -> None:
        """Leave the terminal ready for what comes after the run."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

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
        left = record.seconds * (1 / record.fraction - 1) if record.fraction > _FRACTION_TO_JUDGE_BY else None
        checked = "" if self._bits_per_byte is None else f"  bpb {self._bits_per_byte:.3f}"
        return (
            f"loss {record.loss:.3f}{checked}  {format_count(record.tokens_per_s)} tok/s"
            f"  mfu {record.tokens_per_s * self._share_of_peak:.0%}"
            + (f"  {format_seconds(left)} left" if left else "")
        )


def printable(text: str) -> str:
    """`text` without the control characters that a young model writes, which a terminal would obey."""
    return "".join("\ufffd" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)


def _can_draw() -> bool:
    """Whether stderr is a terminal that knows its width; on others, such as a container's, a bar shows nothing."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):
        return False


class PreparationBar:
    """Progress of data preparation, phase by phase; silent while a phase is too short to care."""

    def __init__(self) -> None:
        self._phase = ""
        self._bar: tqdm[Any] | None = None

    def __call__(self, phase: str, done: float, total: float) -> None:
        """Show that `done` of `total` bytes of `phase` are through."""
        if phase != self._phase:
            self.close()
            self._phase = phase
            self._bar = tqdm(
                desc=phase, unit="B", unit_scale=True, file=sys.stderr, leave=False, delay=1.0, disable=None
            )
        if self._bar is not None:
            self._bar.total = total or None
            self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
