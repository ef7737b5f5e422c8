"""`mlx-tiny profile`: shows where the time of a training step goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.cli.options import UserPath
from mlx_tiny.cli.output import say, show

if TYPE_CHECKING:
    from mlx_tiny.bench.record import Profile
    from mlx_tiny.config import RunConfig

# Rounds of all parts; fewer say little on a machine that others use too.
_SECONDS = 15.0


@click.command()
@click.option("--preset", default="mini", show_default=True, help="Size of the model.")
@click.option("--dtype", default="float32", show_default=True, help="Type of activations: float32 or bfloat16.")
@click.option("--batch-size", type=int, help="Sequences per step. [default: that of the preset]")
@click.option("--seconds", default=_SECONDS, show_default=True, help="Time for all parts together.")
@click.option("--drift", help="Then train for this time, such as 60s, to see whether the machine slows down.")
@click.option("--trace", type=UserPath(), help="Only record a step to this .gputrace file, for Xcode.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--output", type=UserPath(), help="Write the JSON object to this file.")
def command(
    preset: str,
    dtype: str,
    batch_size: int | None,
    seconds: float,
    drift: str | None,
    trace: Path | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Show where the time of a training step goes.

    Each part of the step is timed in two ways: added to an almost empty step, and left out of the whole step. The
    table also has the launches that a GPU would need, read from the graph, and FLOPs and bytes, from formulas.

    \b
      mlx-tiny profile --preset mini
      mlx-tiny profile --preset small --drift 60s
      mlx-tiny profile --preset mini --trace step.gputrace
    """
    if not 0 < seconds < float("inf"):
        raise click.UsageError("--seconds must be above 0")
    if trace is not None and (drift is not None or as_json or output is not None):
        raise click.UsageError("--trace cannot be combined with --drift, --json or --output")
    from mlx_tiny.bench import drift as drift_module
    from mlx_tiny.bench import profile as profiling
    from mlx_tiny.bench import results
    from mlx_tiny.cli.session import compile_operations
    from mlx_tiny.files import require_writable
    from mlx_tiny.machine import peaks
    from mlx_tiny.machine.state import keep_awake
    from mlx_tiny.records import to_json, write

    config, drift_s = _config(preset, dtype, batch_size), _seconds_of(drift)
    compile_operations()
    if trace is not None:
        profiling.trace(config, trace)
        show(f"recorded: {trace}; open it with Xcode")
        return
    require_writable(output)
    with keep_awake():
        dtypes = list(dict.fromkeys(("float32", dtype)))  # the optimizer stays in float32
        measured = peaks.measure(dtypes)
        result = profiling.profile(config, measured, seconds=seconds, tell=say)
        if drift_s is not None:
            say(f"training for {drift}")
            result = replace(result, drift=drift_module.drift(config, drift_s))
        after = peaks.measure(dtypes)
    result = replace(result, warnings=[*_warnings(result), *results.changed_peaks(measured, after)])
    if as_json:
        show(to_json(result))
    else:
        for line in _lines(result):
            show(line)
    for warning in result.warnings:
        say(f"warning: {warning}")
    if output is not None:
        write(output, result)
        say(f"written: {output}")


def _config(preset: str, dtype: str, batch_size: int | None) -> RunConfig:
    from mlx_tiny.config.presets import preset_called

    config = preset_called(preset).config()
    batch_size = config.train.batch_size if batch_size is None else batch_size
    return replace(config, train=replace(config.train, dtype=dtype, batch_size=batch_size))


def _seconds_of(text: str | None) -> float | None:
    from mlx_tiny.errors import TinyError
    from mlx_tiny.units import parse_quantity

    if text is None:
        return None
    quantity, amount = parse_quantity(text)
    if quantity != "seconds":
        raise TinyError("--drift needs a time", expected="for example 60s or 5m", got=text)
    return amount


def _lines(result: Profile) -> Iterator[str]:
    from mlx_tiny.bench import profile as profiling
    from mlx_tiny.bench.table import machine_line, peaks_line
    from mlx_tiny.tools.tables import ABSENT, Column, Table, time_cell, wrapped
    from mlx_tiny.units import format_bytes, format_count, format_duration

    def cell(form: Callable[[Any], str], field: str) -> Callable[[str], str]:
        def text(name: str) -> str:
            value = getattr(result.groups[name], field)
            return ABSENT if value is None else form(value)

        return text

    yield from wrapped(machine_line(result.machine))
    yield from wrapped(peaks_line(result.peaks))
    step = result.step_s
    yield from wrapped(
        f"{result.preset}, {result.shape}, {result.dtype}: step {time_cell(step)} ({format_duration(step.p10)} to "
        f"{format_duration(step.p90)}), {result.tokens_per_s:,.0f} tokens/s, {result.utilisation:.0%} of the peak, "
        f"{result.launches} launches if it ran on a GPU"
    )
    table = Table[str](
        str,
        [
            Column("time", cell(format_duration, "time_s"), "mean of alone and left out"),
            Column("share", cell("{:.1%}".format, "share")),
            Column("of peak", cell("{:.0%}".format, "share_of_peak")),
            Column("FLOPs", cell(format_count, "flops")),
            Column("launches", cell(str, "launches"), "on a GPU"),
            Column("alone", cell(format_duration, "alone_s"), "time that it adds to an almost empty step"),
            Column("left out", cell(format_duration, "left_out_s"), "time that the whole step saves without it"),
            Column("bytes", cell(format_bytes, "least_bytes"), "that must be moved"),
        ],
    )
    yield from table.lines(list(result.groups))
    yield from table.legend()
    yield f"the parts add up to {1 - result.unexplained_s / step.median:.0%} of the step"
    verdict = "within" if result.data_within else "MORE THAN"
    yield f"data: {result.groups['data'].share:.2%} of a step, {verdict} the {profiling.DATA_WITHIN:.0%} allowed"
    if result.drift is not None:
        found = result.drift
        yield from wrapped(
            f"drift: {found.first_tokens_per_s:,.0f} tokens/s in the first {found.ends_s:.0f} s, "
            f"{found.last_tokens_per_s:,.0f} in the last: {found.ratio:.2f}"
            + (", the machine throttles" if found.throttled else "")
        )


def _warnings(result: Profile) -> Iterator[str]:
    if result.step_s.overloaded:
        yield (
            f"The machine was too loaded to measure: the times of a step spread by {result.step_s.relative:.0%}, more "
            "than 30 %. Close other programs, or let the machine cool down, and measure again."
        )
    if not result.data_within:
        yield f"Reading the data takes {result.groups['data'].share:.1%} of a step, more than 1 %."
    if not result.adds_up:
        yield (
            f"The parts do not add up: {result.unexplained_s / result.step_s.median:+.0%} of the step is unexplained, "
            "more than 10 %. Measure again on a quiet machine, or for longer by --seconds."
        )
