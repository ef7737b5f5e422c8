"""`mlx-tiny validate`: checks the results of this machine against references."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_tiny.cli.options import UserPath, plain_option
from mlx_tiny.cli.output import say, show
from mlx_tiny.errors import CheckFailed, TinyError
from mlx_tiny.records import to_json
from mlx_tiny.tools.tables import Column, Table, block, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlx_tiny.validate.table import Row
    from mlx_tiny.validate.trajectory import Training

# On Apple chips from this generation on, and on CUDA, MLX rounds the factors of float32 products to TF32 by default.
_TF32_GENERATION = 5
_SHOWN_STEPS = (1, 10, 50, 100, 200)


@click.command()
@click.argument("run", type=UserPath(), required=False)
@click.option(
    "--kernels", is_flag=True, help="Check only the Metal kernels, against formulas in float64; needs no PyTorch."
)
@click.option("--self-test", is_flag=True, help="Plant faults in the code one at a time, and check that each is found.")
@plain_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--plot",
    type=UserPath(dir_okay=False),
    help="Draw the loss of both trainings to this PNG file; needs matplotlib.",
)
def command(run: Path | None, kernels: bool, self_test: bool, plain: bool, as_json: bool, plot: Path | None) -> None:
    """Check this machine's results against a PyTorch reference, and print the error of each.

    It checks operations, whole models, optimizers, a short training, evaluation and generation. With RUN, the folder of
    a run, it also checks that run's weights on its data. If a result is wrong, the exit code is 3, and the first failed
    row names the smallest part that is wrong.

    \b
      mlx-tiny validate
      mlx-tiny validate runs/notes --plot curves.png
      mlx-tiny validate --self-test
    """
    if kernels + self_test + (run is not None or plot is not None) > 1:
        raise click.UsageError("--kernels and --self-test cannot be combined with each other, RUN or --plot")
    if plain and run is None:
        raise click.UsageError("--plain goes with RUN")
    # Before MLX multiplies, so that float32 products are not rounded to TF32, as they would be on an M5.
    os.environ.setdefault("MLX_ENABLE_TF32", "0")
    if kernels:
        _kernels_alone(as_json)
        return
    if self_test:
        _prepare()
        _self_test(as_json)
    else:
        _validate(run, plain, as_json, plot)


def _kernels_alone(as_json: bool) -> None:
    from mlx_tiny.ops import metal

    if (reason := metal.why_not_metal()) is not None:
        raise TinyError(
            "The Metal kernels cannot be checked on this machine",
            expected="a Mac with Apple silicon, with its GPU as the default device of MLX",
            got=reason,
            remedy="From a checkout, ./scripts/validate_kernels runs the same table through an emulator on any machine",
        )
    validate_kernels(as_json)


def validate_kernels(as_json: bool = False) -> None:
    """Run all cases of the kernels and print the table.

    Raises:
        CheckFailed: an error is larger than allowed.
    """
    from mlx_tiny.validate import kernels
    from mlx_tiny.validate.table import Report

    began = time.monotonic()
    rows = list(_shown(kernels.rows(), {kernels.LAYER: "results of this GPU against formulas in float64"}, as_json))
    report = Report.of(rows, time.monotonic() - began)
    within = f"{report.results - report.failed} of {report.results} results are within their bounds"
    show(to_json(report) if as_json else within)
    failed = [row for row in rows if not row.passed]
    if failed:
        names = ", ".join(sorted({row.operation for row in failed}))
        raise CheckFailed(
            f"{len(failed)} of {len(rows)} results have larger errors than allowed: those of {names}",
            remedy="Train with --implementation attention=mlx,qk_norm_rope=plain,muon=plain, and report the table with "
            "the machine and macOS version",
        )


def _prepare() -> None:
    from mlx_tiny.cli.session import compile_operations
    from mlx_tiny.reference.requirement import require_torch

    # Otherwise waiting threads of PyTorch would keep the cores busy that MLX needs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    require_torch("mlx-tiny validate")
    compile_operations()


def _validate(run_path: Path | None, plain: bool, as_json: bool, plot: Path | None) -> None:
    from mlx_tiny.files import require_writable
    from mlx_tiny.tools.plots import require_matplotlib
    from mlx_tiny.training.checkpoint import RunFolder

    folder = RunFolder(run_path) if run_path is not None else None
    if plot is not None:
        require_matplotlib()
        require_writable(plot)
    _prepare()
    from mlx_tiny.validate import kernels, suite
    from mlx_tiny.validate.table import Report
    from mlx_tiny.validate.trajectory import Training

    began, training = time.monotonic(), Training()
    run = suite.open_run(folder, say, plain=plain) if folder is not None else None
    machine = _machine()
    if not as_json:
        for line in machine.values():
            show(line)
    rows = list(_shown(kernels.rows(), suite.TITLES, as_json))
    rows += _shown((c.row() for c in suite.comparisons(run, training)), suite.TITLES, as_json)
    curves = _curves(training)
    if plot is not None and training.broken:
        say(f"{plot} is not written, because the training failed (see the table)")
    elif plot is not None:
        training.plot(plot)
    report = Report.of(rows, time.monotonic() - began, machine, curves)
    if as_json:
        show(to_json(report))
    else:
        _show_curves(curves)
        names = ("results", "failed", "first_failure", "seconds")
        show("\n" + block({name: getattr(report, name) for name in names}))
    failed = [row for row in rows if not row.passed]
    if failed:
        raise CheckFailed(
            f"{len(failed)} of {len(rows)} results have larger errors than allowed. The first is "
            f"{report.first_failure} ({failed[0].case}, {failed[0].dtype})",
            remedy="Do not rely on results of this machine until the cause is known; report the table",
        )


def _machine() -> dict[str, str]:
    """Lines about what computes."""
    from importlib.metadata import version

    from mlx_tiny.linux.lanes import lanes, prepare
    from mlx_tiny.machine.description import device
    from mlx_tiny.ops import metal
    from mlx_tiny.ops.operation import here
    from mlx_tiny.validate.tensors import description

    lines = {
        "ours": f"mlx {version('mlx')} on {device()}, {len(lanes())} lanes; {prepare().reason}",
        "reference": description(),
    }
    if (reason := metal.why_not_metal()) is not None:
        lines["kernels"] = f"Metal kernels: not run here, because {reason}; ./scripts/validate_kernels emulates them"
    place = here()
    if place.kind == "cuda" or (place.generation or 0) >= _TF32_GENERATION:
        lines["precision"] = _precision(os.environ["MLX_ENABLE_TF32"])
    return lines


def _precision(tf32: str) -> str:
    if tf32 == "0":
        return "products: in float32 (MLX_ENABLE_TF32=0); training rounds them to TF32 here, unless you set that too"
    return f"products: rounded to TF32 (your MLX_ENABLE_TF32={tf32}), so float32 results will fail"


def _shown(rows: Iterable[Row], titles: dict[str, str], as_json: bool) -> Iterable[Row]:
    """The rows; each is printed as soon as it is computed, below the title of its layer."""
    from mlx_tiny.validate.table import HEADER, LEGEND

    layer = ""
    for row in rows:
        if not as_json:
            if row.layer != layer:
                layer = row.layer
                show("\n".join(["", *wrapped(f"{layer}: {titles[layer]}"), HEADER]))
            show("\n".join(row.lines()))
        yield row
    if layer:
        show("\n".join(wrapped(f"  {LEGEND}")))


def _curves(training: Training) -> dict[str, list[float | None]]:
    """Losses of both trainings; empty if a training failed."""
    if training.broken:  # the table shows the error
        return {}
    return {"mlx": training.curves.ours.tolist(), "torch": training.curves.reference.tolist()}


def _show_curves(curves: dict[str, list[float | None]]) -> None:
    if not curves:
        return
    steps = [step for step in _SHOWN_STEPS if step <= len(curves["mlx"])]
    columns = [Column(str(step), functools.partial(_loss, curves, step)) for step in steps]
    show("\n".join(["", *Table(str, columns).lines(list(curves), title="loss before step")]))


def _loss(curves: dict[str, list[float | None]], step: int, side: str) -> str:
    return f"{curves[side][step - 1]:.6f}"


def _self_test(as_json: bool) -> None:
    from mlx_tiny.validate.self_test import verdicts

    began, found = time.monotonic(), []
    if not as_json:
        show(f"{'planted fault':<42}verdict")
    for verdict in verdicts():
        found.append(verdict)
        if not as_json:
            word = "ok" if verdict.localised else "FAILED"
            show(f"{verdict.fault:<42}{word}")
            told = f"found: {verdict.blamed}" + ("" if verdict.localised else f"; expected: {verdict.expected}")
            show("\n".join(wrapped(f"    {told}", indent=4)))
    missed = [verdict for verdict in found if not verdict.localised]
    summary = {
        "faults": len(found) - 1,
        "found": sum(verdict.found for verdict in found[1:]),
        "localised": sum(verdict.localised for verdict in found[1:]),
        "seconds": round(time.monotonic() - began, 1),
    }
    if as_json:
        show(to_json({"verdicts": found, **summary}))
    else:
        show(f"\n{block(summary)}")
    if missed:
        raise CheckFailed(
            f"The validation was wrong about {len(missed)} of {len(found)} versions of the code, first about "
            f"{missed[0].fault!r}",
            expected=missed[0].expected,
            got=missed[0].blamed,
            remedy="Do not rely on `mlx-tiny validate` on this machine until the cause is known; report the list",
        )
