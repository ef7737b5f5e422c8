"""Fits the law of `mlx_tiny/study/law.py` to recorded runs, and writes it with them to the file of the package.

The sum of Huber losses of log(predicted / reached) is minimised, from several starts, as Hoffmann et al. 2022
(arXiv 2203.15556, Approach 3) do; the interval comes from fits to runs that are drawn with replacement.
"""

from __future__ import annotations

import fnmatch
import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.command_line import start
from mlx_tiny.config.presets import RECIPES, STRONGEST
from mlx_tiny.errors import TinyError
from mlx_tiny.model.parameters import matrix_parameters
from mlx_tiny.records import read, read_sealed, write
from mlx_tiny.report.record import Report
from mlx_tiny.study.law import LAWS, Law, Laws, MeasuredRun, Surface
from mlx_tiny.study.plan import of_recipe
from mlx_tiny.tools.tables import Column, Table
from mlx_tiny.units import format_count

_HUBER = 3e-3
"""Residuals beyond it count linearly, so that a run that luck has made better or worse does not bend the law."""
# A weak belief, for the directions that few runs say nothing about: exponents of 0.35, as in arXiv 2203.15556, give or
# take 0.25, worth as much as a run that is off by one Huber constant.
_USUAL_EXPONENT, _EXPONENT_STD = 0.35, 0.25
_RESAMPLED = 40
_LEAST_RUNS = 6
"""One more than there are constants."""
_ROUNDS = 200


def fit(runs: Sequence[MeasuredRun], floor: float | None = None) -> Surface:
    """The surface with the least Huber loss.

    Args:
        floor: E, where it is known, as the entropy of generated text is.

    Raises:
        TinyError: too few runs, or all of one size or of one number of tokens.
    """
    sizes, amounts = ({getattr(run, name) for run in runs} for name in ("parameters", "tokens"))
    if len(runs) < _LEAST_RUNS or len(sizes) < 2 or len(amounts) < 2:
        raise TinyError(
            "Too few runs for a law",
            expected=f"at least {_LEAST_RUNS}, of several sizes and numbers of tokens",
            got=f"{len(runs)} runs, {len(sizes)} sizes, {len(amounts)} numbers of tokens",
        )
    log_size = np.log([run.parameters for run in runs])
    log_data = np.log([run.effective_tokens for run in runs])
    log_reached = np.log([run.bits_per_byte for run in runs])
    lowest = float(log_reached.min())
    floors = (np.log(floor),) if floor else (lowest - 1.5, lowest - 0.5)
    found = []
    for of_size, of_data, log_floor in itertools.product((0.2, 0.5), (0.2, 0.5), floors):
        # Each of the terms starts as a third of what the typical run reached.
        third = float(np.median(log_reached)) - np.log(3)
        start_at = [third + of_size * log_size.mean(), of_size, third + of_data * log_data.mean(), of_data, log_floor]
        found.append(_descend(np.array(start_at), log_size, log_data, log_reached, fixed_floor=floor is not None))
    (log_a, alpha, log_b, beta, log_e), _ = min(found, key=lambda pair: pair[1])
    return Surface(float(np.exp(log_e)), float(np.exp(log_a)), float(alpha), float(np.exp(log_b)), float(beta))


def _descend(
    at: np.ndarray, log_size: np.ndarray, log_data: np.ndarray, log_reached: np.ndarray, *, fixed_floor: bool
) -> tuple[np.ndarray, float]:
    """Levenberg-Marquardt with the weights of the Huber loss; returns the constants [5] and the loss."""
    weights_of_belief = np.array([0, 1, 0, 1, 0]) * (_HUBER / _EXPONENT_STD) ** 2

    def terms(x: np.ndarray) -> np.ndarray:
        of_size, of_data = x[0] - x[1] * log_size, x[2] - x[3] * log_data
        with np.errstate(over="ignore"):  # of a step too far, which is not taken
            return np.exp(np.stack([of_size, of_data, np.full_like(of_size, x[4])]))

    def loss(x: np.ndarray) -> float:
        off = np.abs(np.log(terms(x).sum(0)) - log_reached)
        huber = np.where(off <= _HUBER, off**2 / 2, _HUBER * (off - _HUBER / 2))
        return float(huber.sum() + (weights_of_belief * (x - _USUAL_EXPONENT) ** 2).sum() / 2)

    damping, now = 1e-3, loss(at)
    for _ in range(_ROUNDS):
        parts = terms(at)
        total = parts.sum(0)
        off = np.log(total) - log_reached
        of_size, of_data, of_floor = parts / total
        slopes = np.stack([of_size, -of_size * log_size, of_data, -of_data * log_data, of_floor * (not fixed_floor)])
        weighted = slopes * np.minimum(1, _HUBER / np.maximum(np.abs(off), 1e-12))
        gradient = weighted @ off + weights_of_belief * (at - _USUAL_EXPONENT)
        curvature = weighted @ slopes.T + np.diag(weights_of_belief)
        damped = curvature + damping * np.diag(np.diag(curvature)) + 1e-12 * np.eye(5)
        step = np.linalg.solve(damped, gradient)
        if (then := loss(at - step)) < now:
            done = now - then < 1e-12
            at, now, damping = at - step, then, damping / 3
            if done:
                break
        else:
            damping *= 4
            if damping > 1e9:
                break
    return at, now


def law(
    text: str,
    recipe: str,
    settings: dict[str, dict[str, Any]],
    runs: Sequence[MeasuredRun],
    floor: float | None = None,
) -> Law:
    """The law of these runs, with its uncertainty."""
    fitted, random = fit(runs, floor), np.random.default_rng(0)
    resampled: list[Surface] = []
    while len(resampled) < _RESAMPLED:
        drawn = [runs[index] for index in random.integers(len(runs), size=len(runs))]
        if min(len({run.parameters for run in drawn}), len({run.tokens for run in drawn})) > 1:
            resampled.append(fit(drawn, floor))
    off = [np.log(fitted.bits_per_byte(run.parameters, run.effective_tokens) / run.bits_per_byte) for run in runs]
    free = max(1, len(runs) - 5)
    scatter = float(np.sqrt(np.sum(np.square(off)) / free))
    return Law(text, recipe, settings, fitted, resampled, scatter, list(runs))


def measured(folder: Path) -> tuple[MeasuredRun, Report]:
    """What a finished run reached, and its report.

    Raises:
        TinyError: no report, a damaged one, or one of a run that was interrupted.
    """
    report = read_sealed(folder / "report.json", Report, "report of the run")
    if report.interrupted or not report.evaluated_whole_file:
        raise TinyError(
            f"The run at {folder} was interrupted, or not measured on the whole validation text",
            remedy="Leave it out; train with --measured-bytes all",
        )
    config = report.config
    run = MeasuredRun(
        size=f"{config.model.layers}x{config.model.width}",
        parameters=matrix_parameters(config.model),
        tokens=report.tokens,
        unique_tokens=round(report.tokens / report.epochs),
        seed=config.train.seed,
        bits_per_byte=report.bits_per_byte,
    )
    return run, report


def common_settings(reports: Mapping[Path, Report]) -> dict[str, dict[str, object]]:
    """The settings of the recipe of all runs, by their folders.

    Raises:
        TinyError: one has other settings than the first.
    """
    settings = {folder: of_recipe(report.config) for folder, report in reports.items()}
    first = next(iter(settings.values()))
    for folder, own in settings.items():
        for section, values in own.items():
            for name, value in values.items():
                if value != first[section][name]:
                    raise TinyError(
                        f"The run at {folder} is not of the recipe of the first",
                        expected=f"{name} {first[section][name]}",
                        got=value,
                    )
    return first


def lines(found: Law, held_out: Sequence[MeasuredRun]) -> Iterator[str]:
    """Each run beside what the law says of it, those that were held out last, and the median errors."""

    def error(run: MeasuredRun) -> float:
        return found.expected(run.parameters, run.tokens, run.unique_tokens).bits_per_byte / run.bits_per_byte - 1

    table = Table[MeasuredRun](
        lambda run: run.size,
        [
            Column("parameters", lambda run: format_count(run.parameters), "in matrices"),
            Column("tokens", lambda run: format_count(run.tokens)),
            Column("reached", lambda run: f"{run.bits_per_byte:.4f}", "bits per byte"),
            Column("law", lambda run: f"{run.bits_per_byte * (1 + error(run)):.4f}"),
            Column("error", lambda run: f"{error(run):+.1%}" + "*" * (run in held_out)),
        ],
        marks=[("*", "not in the fit")],
    )
    by_size = sorted(found.runs, key=lambda run: (run.parameters, run.tokens))
    yield from table.lines([*by_size, *held_out])
    yield from table.legend()
    for what, runs in (("fitted", found.runs), ("held out", held_out)):
        if runs:
            median = statistics.median(abs(error(run)) for run in runs)
            yield f"median error of {len(runs)} runs {what}: {median:.2%}"


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--text", required=True, help="The corpus of all the runs, such as tinystories.")
@click.option("--recipe", type=click.Choice(list(RECIPES)), default=STRONGEST, help="The recipe of all the runs.")
@click.option("--hold-out", default="", help="Names of folders to leave out of the fit, such as '*-s1'.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=LAWS, help="File of laws; replaced in it is this one."
)
def command(folders: tuple[Path, ...], text: str, recipe: str, hold_out: str, output: Path) -> None:
    """Fit the law to finished runs, and say how well it predicts those that are held out."""
    found = {folder: measured(folder) for folder in folders}
    held_out = [run for folder, (run, _) in found.items() if fnmatch.fnmatch(folder.name, hold_out)]
    runs = [run for run, _ in found.values() if run not in held_out]
    floors = [r.entropy_floor_bits_per_byte for _, r in found.values() if r.entropy_floor_bits_per_byte is not None]
    settings = common_settings({folder: report for folder, (_, report) in found.items()})
    fitted = law(text, recipe, settings, runs, statistics.fmean(floors) if floors else None)
    click.echo("\n".join(lines(fitted, held_out)))
    others = [other for other in _known(output) if (other.text, other.recipe) != (text, recipe)]
    write(output, Laws([*others, fitted]))


def _known(path: Path) -> list[Law]:
    return read(path, Laws, "file of laws").laws if path.exists() else []


if __name__ == "__main__":
    start(command)
