"""How the cost of a training token grows with context, batch, width and depth, and whether FLOPs explain the growth.

FLOPs are those of model and optimizer. Muon's grow with the width, and their share is larger if a step has few tokens.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import mlx.core as mx
import numpy as np

from benchmarks.command_line import start
from mlx_tiny.bench.profile import costs
from mlx_tiny.bench.table import machine_line
from mlx_tiny.bench.timing import interleaved
from mlx_tiny.bench.weights import nonzero_parameters
from mlx_tiny.config import RunConfig
from mlx_tiny.config.presets import preset_called
from mlx_tiny.errors import CheckFailed
from mlx_tiny.files import require_writable
from mlx_tiny.linux.lanes import decide_compilation, lanes
from mlx_tiny.machine.description import Machine, describe
from mlx_tiny.model.parameters import training_flops_per_token
from mlx_tiny.records import Record, write
from mlx_tiny.tools import plots
from mlx_tiny.tools.statistics import Spread
from mlx_tiny.tools.tables import OVERLOADED, PLUS_MINUS, Column, Table, spread_cell, time_cell, wrapped
from mlx_tiny.training.step import TrainingState, TrainingStep, fresh_state

ALLOWED_GROWTH = 1.20
"""Cost may grow at most by this factor more than FLOPs."""
AXES = ("context", "batch", "width", "depth")
_HEAD_WIDTH = 64
_CONTEXTS = (128, 256, 512, 1024, 2048)
# Sequences per step at the longest context; there is also at least one per core, so that no core is idle.
_LEAST_SEQUENCES = 2


@dataclass(frozen=True)
class Point:
    """Cost of a training token at one value of one dimension."""

    axis: str
    value: int
    batch_size: int
    tokens_per_step: int
    flops_per_token: float
    """Of model and optimizer."""
    s_per_token: Spread

    @property
    def s_per_flop(self) -> float:
        return self.s_per_token.median / self.flops_per_token


@dataclass(frozen=True)
class Scaling(Record):
    """The results file of this study."""

    kind = "scaling"
    version = 2

    created: str
    machine: Machine
    verdicts: list[str]
    points: list[Point]


def values_of(axis: str) -> tuple[int, ...]:
    """Values of an axis; batches are multiples of the number of lanes, so that no lane is idle."""
    if axis == "batch":
        return tuple(len(lanes()) * factor for factor in (1, 2, 4, 8, 16))
    return {"context": _CONTEXTS, "width": (64, 128, 256, 384), "depth": (1, 2, 4, 8)}[axis]


def configuration(axis: str, value: int) -> RunConfig:
    """The preset `mini` with one dimension changed; only the axis `batch` changes the number of tokens per step."""
    config = preset_called("mini").config()
    model = config.model
    if axis == "context":
        model = replace(model, context=value)
    elif axis == "width":
        heads = max(1, value // _HEAD_WIDTH)
        model = replace(model, width=value, hidden=4 * value, heads=heads, key_value_heads=heads)
    elif axis == "depth":
        model = replace(model, layers=value)
    tokens = max(_CONTEXTS) * max(_LEAST_SEQUENCES, len(lanes()))
    batch = value if axis == "batch" else tokens // model.context
    return replace(config, model=model, train=replace(config.train, batch_size=batch))


def measure(
    axis: str, values: Sequence[int], seconds: float, configure: Callable[[str, int], RunConfig]
) -> list[Point]:
    """Cost per token at each value, measured in turn; compilation is not included.

    Args:
        seconds: about how long to measure each value.
    """
    tasks = {value: _task(configure(axis, value)) for value in values}
    for task in tasks.values():
        task()
    named = {str(value): task for value, task in tasks.items()}
    durations = interleaved(named, seconds=seconds * len(values))
    points = []
    for value in values:
        config = configure(axis, value)
        tokens = config.train.batch_size * config.model.context
        spread = Spread.of([taken / tokens for taken in durations[str(value)]])
        flops = training_flops_per_token(config.model) + costs(config)["optimizer"]["flops"] / tokens
        points.append(Point(axis, value, config.train.batch_size, tokens, flops, spread))
    return points


def _task(config: RunConfig) -> Callable[[], None]:
    """One training step of a configuration on random tokens."""
    step = TrainingStep(config, compiled=decide_compilation(config.train.compile)[0])
    state = TrainingState(nonzero_parameters(config.model), fresh_state(config).optimizer)
    shape = (config.train.batch_size, config.model.context + 1)
    batch = np.random.default_rng(0).integers(0, config.model.vocabulary_size, shape, dtype=np.int32)

    def take() -> None:
        # Every step starts from the same state, so that all steps do the same work.
        changed, loss = step(state, batch, 1.0, 0.95)
        mx.eval(loss, changed.arrays())

    return take


@dataclass(frozen=True)
class Verdict:
    """The largest factor by which cost grew more than FLOPs between two values of an axis."""

    axis: str
    factor: float
    smaller: int
    larger: int
    uncertain: bool
    """Whether the machine was too loaded for some point of the axis."""

    @property
    def kept(self) -> bool:
        """Whether the factor is allowed."""
        return self.factor <= ALLOWED_GROWTH

    def __str__(self) -> str:
        return (
            f"{self.axis}: from {self.smaller} to {self.larger} the cost per token grows by {self.factor:.2f} times "
            f"what its FLOPs do, {'within' if self.kept else 'MORE THAN'} the {ALLOWED_GROWTH:.2f} allowed"
            + ("; uncertain, as the machine was too loaded" if self.uncertain else "")
        )


def verdicts(points: Sequence[Point]) -> list[Verdict]:
    """A verdict per axis."""
    found = []
    for axis, group in itertools.groupby(points, key=lambda point: point.axis):
        block = list(group)
        pairs = itertools.combinations(block, 2)
        worst = max((b.s_per_flop / a.s_per_flop, a.value, b.value) for a, b in pairs)
        found.append(Verdict(axis, *worst, uncertain=any(point.s_per_token.overloaded for point in block)))
    return found


def require_kept(found: Sequence[Verdict]) -> None:
    """Check the verdicts that are not uncertain.

    Raises:
        CheckFailed: cost grew more than is allowed.
    """
    broken = [verdict for verdict in found if not verdict.kept and not verdict.uncertain]
    if broken:
        worst = max(broken, key=lambda verdict: verdict.factor)
        raise CheckFailed(
            f"The cost per token grows by more than its FLOPs explain along {', '.join(v.axis for v in broken)}",
            expected=f"at most {ALLOWED_GROWTH:.2f} times as much",
            got=f"{worst.factor:.2f} from {worst.axis} {worst.smaller} to {worst.larger}",
            remedy="See what grows with `mlx-tiny profile`",
        )


def table(points: Sequence[Point]) -> Iterator[str]:
    """All points, with the growth of cost and FLOPs from the first point of the axis."""
    first = {point.axis: point for point in reversed(points)}

    def cost_grew(p: Point) -> float:
        return p.s_per_token.median / first[p.axis].s_per_token.median

    def flops_grew(p: Point) -> float:
        return p.flops_per_token / first[p.axis].flops_per_token

    printed = Table[Point](
        lambda p: f"{p.axis} {p.value}",
        [
            Column("time", lambda p: time_cell(p.s_per_token), "per token, median"),
            Column("±", lambda p: spread_cell(p.s_per_token), PLUS_MINUS),
            Column("cost", lambda p: f"{cost_grew(p):.2f}", "times that of the first value"),
            Column("FLOPs", lambda p: f"{flops_grew(p):.2f}", "times those of the first value"),
            Column("ratio", lambda p: f"{cost_grew(p) / flops_grew(p):.2f}", "cost over FLOPs"),
            Column("GFLOP/s", lambda p: f"{1e-9 / p.s_per_flop:.1f}"),
            Column("batch", lambda p: str(p.batch_size), "sequences"),
            Column("FLOPs/token", lambda p: f"{p.flops_per_token:.3g}"),
        ],
        marks=[(OVERLOADED, "the machine was too loaded to measure")],
    )
    yield from printed.lines(points)
    yield from printed.legend()


def plot(points: Sequence[Point], path: Path) -> None:
    """Cost per token against each dimension: measured, and as predicted from the first value by FLOPs."""
    names = list(dict.fromkeys(point.axis for point in points))
    size = 4 * len(names), 3.6
    with plots.picture(path, ncols=len(names), figsize=size, squeeze=False) as (_, panels):
        for panel, axis in zip(panels[0], names, strict=True):
            _draw(panel, axis, [point for point in points if point.axis == axis])


def _draw(panel: Any, axis: str, block: Sequence[Point]) -> None:
    values, costs_us = [p.value for p in block], [1e6 * p.s_per_token.median for p in block]
    by_flops = [costs_us[0] * p.flops_per_token / block[0].flops_per_token for p in block]
    lows, highs = [1e6 * p.s_per_token.p10 for p in block], [1e6 * p.s_per_token.p90 for p in block]
    panel.fill_between(values, lows, highs, alpha=0.3)
    panel.plot(values, costs_us, "o-", label="measured")
    panel.plot(values, by_flops, "--", color="black", label="as its FLOPs")
    panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="microseconds per token")
    panel.minorticks_off()
    panel.set_xticks(values, [str(value) for value in values])
    panel.set_yticks(costs_us, [f"{cost:.3g}" for cost in costs_us])
    panel.legend()


@click.command()
@click.option("--axis", "axes", multiple=True, type=click.Choice(AXES), help="Only this one; may be repeated.")
@click.option("--seconds", default=3.0, show_default=True, help="Time for each point.")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file to write, and beside it a PNG.")
def command(axes: tuple[str, ...], seconds: float, output: Path | None) -> None:
    """Measure the cost of a training token along each dimension of the model.

    The exit code is 3 if the cost grows more than its FLOPs explain.
    """
    if output is not None and output.suffix == ".png":
        raise click.UsageError("--output names the JSON file; the PNG gets its name with another ending")
    require_writable(output, output and output.with_suffix(".png"))
    points: list[Point] = []
    before = describe()
    click.echo("\n".join(wrapped(machine_line(before))))
    for axis in axes or AXES:
        click.echo(f"measuring: {axis} {', '.join(map(str, values_of(axis)))}", err=True)
        points += measure(axis, values_of(axis), seconds, configuration)
    found = verdicts(points)
    click.echo("\n".join([*table(points), *map(str, found)]))
    if output is not None:
        _write(output, points, before)
    require_kept(found)


def _write(output: Path, points: list[Point], before: Machine) -> None:
    created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    write(output, Scaling(created, before, list(map(str, verdicts(points))), points))
    if plots.installed():
        plot(points, output.with_suffix(".png"))
    else:
        click.echo("no picture: matplotlib is not installed (extra `plot`)", err=True)


if __name__ == "__main__":
    start(command)
