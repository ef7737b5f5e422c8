"""`mlx-tiny profile`: where the time of a training step goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

# Rounds of all parts; fewer say little on a machine that others use too.
_SECONDS = 15.0


@click.command()
@click.option("--preset", default="mini", show_default=True, help="Size of the model.")
@click.option("--dtype", default="float32", show_default=True, help="Type of activations: float32 or bfloat16.")
@click.option("--batch-size", type=int, help="Sequences in a step. [default: the preset's]")
@click.option("--seconds", default=_SECONDS, show_default=True, help="Time for all parts together.")
@click.option("--drift", help="Then train for so long (60s), to see whether the machine slows down.")
@click.option("--trace", type=click.Path(path_type=Path), help="Only record one step to this .gputrace, for Xcode.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--output", type=click.Path(path_type=Path), help="Write that object to a file.")
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
    """Time the groups of a training step: each alone, and by what the step lacks without it.

    Launches are those that a GPU would need, read from the graph; bytes and FLOPs are counted by formula.

    \b
      mlx-tiny profile --preset mini
      mlx-tiny profile --preset small --drift 60s
      mlx-tiny profile --preset mini --trace step.gputrace
    """
    if not 0 < seconds < float("inf"):
        raise click.UsageError("--seconds must be above 0")
    if trace is not None and (drift is not None or as_json or output is not None):
        raise click.UsageError("--trace records a step and nothing else")
    from mlx_tiny.bench import drift as drift_module
    from mlx_tiny.bench import profile as profiling
    from mlx_tiny.bench import results
    from mlx_tiny.files import require_writable, write_json
    from mlx_tiny.machine import peaks
    from mlx_tiny.machine.state import keep_awake
    from mlx_tiny.records import to_plain

    config, drift_s = _config(preset, dtype, batch_size), _seconds_of(drift)
    if trace is not None:
        profiling.trace(config, trace)
        click.echo(f"recorded: {trace}; open it with Xcode")
        return
    require_writable(output)
    with keep_awake():
        dtypes = list(dict.fromkeys(("float32", dtype)))  # the optimizer stays in float32
        measured = peaks.measure(dtypes)
        result = profiling.profile(config, measured, seconds=seconds, tell=lambda text: click.echo(text, err=True))
        if drift_s is not None:
            click.echo(f"training for {drift}", err=True)
            result["drift"] = drift_module.drift(config, drift_s)
        after = peaks.measure(dtypes)
    result = to_plain({**result, "warnings": [*_warnings(result), *results.changed_peaks(measured, after)]})
    if as_json:
        click.echo(json.dumps(result, allow_nan=False))
    else:
        for line in _lines(result):
            click.echo(line)
    for warning in result["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    if output is not None:
        write_json(output, result)
        click.echo(f"written: {output}", err=True)


def _config(preset: str, dtype: str, batch_size: int | None) -> Any:
    import dataclasses

    from mlx_tiny.bench.presets import preset_called

    config = preset_called(preset).config()
    train = {"dtype": dtype} if batch_size is None else {"dtype": dtype, "batch_size": batch_size}
    return dataclasses.replace(config, train=dataclasses.replace(config.train, **train))


def _seconds_of(text: str | None) -> float | None:
    from mlx_tiny.errors import TinyError
    from mlx_tiny.units import parse_quantity

    if text is None:
        return None
    quantity, amount = parse_quantity(text)
    if quantity != "seconds":
        raise TinyError("--drift takes a time", expected="for example 60s or 5m", got=text)
    return amount


def _lines(result: dict[str, Any]) -> Iterator[str]:
    from mlx_tiny.bench import profile as profiling
    from mlx_tiny.bench.table import aligned, duration, machine_line, peaks_line
    from mlx_tiny.machine.description import Machine
    from mlx_tiny.machine.peaks import Peaks
    from mlx_tiny.records import from_plain
    from mlx_tiny.units import format_bytes, format_count

    yield machine_line(from_plain(Machine, result["machine"]))
    yield peaks_line(from_plain(Peaks, result["peaks"]))
    yield (
        f"{result['preset']}, {result['shape']}, {result['dtype']}: step {duration(result['step_s'])} "
        f"({duration(result['p10_s'])} to {duration(result['p90_s'])}), {result['tokens_per_s']:,.0f} "
        f"tokens/s, {result['utilisation']:.0%} of the peak, {result['launches']} launches on a GPU"
    )
    rows = [["", "time", "share", "alone", "left out", "launches", "FLOPs", "of peak", "bytes"]]
    for name, group in result["groups"].items():
        times = [duration(group[key]) if key in group else "-" for key in ("alone_s", "left_out_s")]
        rows.append(
            [
                name,
                duration(group["time_s"]),
                f"{group['share']:.1%}",
                *times,
                str(group.get("launches", "-")),
                format_count(group["flops"]) if "flops" in group else "-",
                f"{group['share_of_peak']:.0%}" if "share_of_peak" in group else "-",
                format_bytes(group["least_bytes"]) if "least_bytes" in group else "-",
            ]
        )
    yield from aligned(rows)
    explained = 1 - result["unexplained_s"] / result["step_s"]
    yield f"the parts add up to {explained:.0%} of the step"
    verdict = "within" if result["data_within"] else "MORE THAN"
    yield f"data: {result['groups']['data']['share']:.2%} of a step, {verdict} the {profiling.DATA_WITHIN:.0%} allowed"
    if "drift" in result:
        found = result["drift"]
        yield (
            f"drift: {found['first_tokens_per_s']:,.0f} tokens/s in the first {found['window_s']:.0f} s, "
            f"{found['last_tokens_per_s']:,.0f} in the last: {found['ratio']:.2f}"
            + (", the machine holds itself back" if found["throttled"] else "")
        )


def _warnings(result: dict[str, Any]) -> Iterator[str]:
    if result["overloaded"]:
        yield (
            f"The machine was too loaded to measure: the step's times spread by {result['spread']:.0%}, more than "
            "30 %. Close other programs, or let the machine cool, and measure again."
        )
    if not result["data_within"]:
        yield f"Reading the data takes {result['groups']['data']['share']:.1%} of a step, more than 1 %."
    if not result["adds_up"]:
        yield (
            f"The parts do not add up: {result['unexplained_s'] / result['step_s']:+.0%} of the step is unexplained, "
            "more than 10 %. Measure again on a quiet machine, or for longer by --seconds."
        )
