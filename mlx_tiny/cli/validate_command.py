"""`mlx-tiny validate`: results held against references, on the machine where they are to be trusted."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlx_tiny.errors import CheckFailed, TinyError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlx_tiny.validate.table import Row
    from mlx_tiny.validate.trajectory import Training

# From this chip on MLX rounds the factors of float32 products to TF32 unless it is told not to; on CUDA it always does.
_TF32_GENERATION = 5
_SHOWN_STEPS = (1, 10, 20, 50, 100, 150, 200)


@click.command()
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--kernels", is_flag=True, help="The Metal kernels alone, against float64 formulas; needs no PyTorch.")
@click.option("--self-test", is_flag=True, help="Plant faults one at a time, and see whether each is found.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write both loss curves to this PNG file, with matplotlib; without it none is written, and RUN is only read.",
)
def command(run: Path | None, kernels: bool, self_test: bool, as_json: bool, plot: Path | None) -> None:
    """Hold what this machine computes against the reference in PyTorch, and print how far each result is off.

    Operations, whole models, optimizers, a short training, evaluation and generation; with a run's folder RUN, that
    run's weights and data too.

    \b
      mlx-tiny validate
      mlx-tiny validate runs/notes --plot curves.png
      mlx-tiny validate --self-test
    """
    if kernels + self_test + (run is not None or plot is not None) > 1:
        raise click.UsageError("--kernels and --self-test go alone: neither takes the other, RUN or --plot")
    # Before MLX multiplies: where products would be rounded to TF32, as on an M5, float32 is to be float32.
    os.environ.setdefault("MLX_ENABLE_TF32", "0")
    if kernels:
        _kernels_alone(as_json)
        return
    if self_test:
        _prepare_torch()
        _self_test(as_json)
    else:
        _validate(run, as_json, plot)


def _kernels_alone(as_json: bool) -> None:
    from mlx_tiny.ops import metal

    if (reason := metal.why_not_metal()) is not None:
        raise TinyError(
            "The Metal kernels cannot be validated here",
            expected="a Mac with Apple silicon, its GPU being MLX's default device",
            got=reason,
            remedy="From a checkout, ./scripts/validate_kernels runs the same table through an emulator on any machine",
        )
    validate_kernels(as_json)


def validate_kernels(as_json: bool = False) -> None:
    """Run all cases of the kernels and print the table.

    Raises:
        CheckFailed: some kernel is further off than allowed.
    """
    from mlx_tiny.validate import kernels

    rows = list(_shown(kernels.rows(), {kernels.LAYER: "this GPU's results against formulas in float64"}, as_json))
    failed = [row for row in rows if not row.passed]
    if as_json:
        values = {"rows": [row.to_dict() for row in rows], "failed": len(failed)}
        click.echo(json.dumps(values, allow_nan=False))
    else:
        click.echo(f"{len(rows) - len(failed)} of {len(rows)} results are within their bounds")
    if failed:
        names = ", ".join(sorted({row.operation for row in failed}))
        raise CheckFailed(
            f"{len(failed)} of {len(rows)} results are further off than allowed, of {names}",
            remedy="Train with --implementation attention=mlx,qk_norm_rope=plain,muon=plain, and report the table with "
            "the machine and macOS version",
        )


def _prepare_torch() -> None:
    from mlx_tiny.reference.requirement import require_torch

    # Its threads would otherwise spin while they wait, and take the cores from MLX's.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    require_torch("mlx-tiny validate")


def _validate(run_path: Path | None, as_json: bool, plot: Path | None) -> None:
    from mlx_tiny.files import require_writable
    from mlx_tiny.tools.plots import require_matplotlib
    from mlx_tiny.training.checkpoint import RunFolder

    folder = RunFolder(run_path) if run_path is not None else None
    if plot is not None:
        require_matplotlib()
        require_writable(plot)
    _prepare_torch()
    from mlx_tiny.validate import kernels, suite
    from mlx_tiny.validate.trajectory import Training

    began, training = time.monotonic(), Training()
    run = suite.open_run(folder) if folder is not None else None
    machine = _machine()
    if not as_json:
        for line in machine.values():
            click.echo(line)
    rows = list(_shown(kernels.rows(), suite.TITLES, as_json))
    rows += _shown((c.row() for c in suite.comparisons(run, training)), suite.TITLES, as_json)
    curves = _curves(training)
    if plot is not None and training.broken:
        click.echo(f"{plot} is not written: the training broke, as the table says, and left no curves", err=True)
    elif plot is not None:
        training.plot(plot)
    failed = [row for row in rows if not row.passed]
    summary = {
        "results": len(rows),
        "failed": len(failed),
        "first_failure": failed[0].place if failed else None,
        "seconds": round(time.monotonic() - began, 1),
    }
    if as_json:
        values = {"machine": machine, "rows": [row.to_dict() for row in rows], "losses": curves, **summary}
        click.echo(json.dumps(values, allow_nan=False))
    else:
        _show_curves(curves)
        click.echo()
        for key, value in summary.items():
            if value is not None:
                click.echo(f"{key}: {value}")
    if failed:
        raise CheckFailed(
            f"{len(failed)} of {len(rows)} results are further off than allowed, the first being "
            f"{summary['first_failure']} ({failed[0].case}, {failed[0].dtype})",
            remedy="Do not trust results of this machine before it is understood; report the table",
        )


def _machine() -> dict[str, str]:
    """What computes, in lines."""
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
        lines["kernels"] = f"Metal kernels: not run here, since {reason}; ./scripts/validate_kernels emulates them"
    place = here()
    if place.kind == "cuda" or (place.generation or 0) >= _TF32_GENERATION:
        lines["precision"] = _precision(os.environ["MLX_ENABLE_TF32"])
    return lines


def _precision(tf32: str) -> str:
    if tf32 == "0":
        return (
            "products: in float32 (MLX_ENABLE_TF32=0); in training this chip rounds them to TF32 unless you set it too"
        )
    return f"products: rounded to TF32 (MLX_ENABLE_TF32={tf32}, as you set it); float32 results will be out of bounds"


def _shown(rows: Iterable[Row], titles: dict[str, str], as_json: bool) -> Iterable[Row]:
    """The rows, each printed as soon as it is there, below the title of its layer."""
    from mlx_tiny.tools.tables import wrapped
    from mlx_tiny.validate.table import HEADER, LEGEND

    layer = ""
    for row in rows:
        if not as_json:
            if row.layer != layer:
                layer = row.layer
                click.echo("\n".join(["", *wrapped(f"{layer}: {titles[layer]}"), HEADER]))
            click.echo("\n".join(row.lines()))
        yield row
    if layer:
        click.echo("\n".join(wrapped(f"  {LEGEND}")))


def _curves(training: Training) -> dict[str, list[float | None]]:
    """Both sides' losses, none where the training broke; no number stands for NaN."""
    from mlx_tiny.records import to_plain

    if training.broken:  # the table says so
        return {}
    sides = {"mlx": training.curves.ours.tolist(), "torch": training.curves.reference.tolist()}
    return to_plain(sides)  # type: ignore[no-any-return]


def _show_curves(curves: dict[str, list[float | None]]) -> None:
    if not curves:
        return
    steps = [step for step in _SHOWN_STEPS if step <= len(curves["mlx"])]
    click.echo(f"\n{'loss before step':<18}" + "".join(f"{step:>10}" for step in steps))
    for side, losses in curves.items():
        shown = [losses[step - 1] for step in steps]
        click.echo(f"{side:<18}" + "".join(f"{'NaN' if loss is None else f'{loss:.6f}':>10}" for loss in shown))


def _self_test(as_json: bool) -> None:
    from mlx_tiny.linux.lanes import prepare
    from mlx_tiny.tools.tables import wrapped
    from mlx_tiny.validate.self_test import verdicts

    prepare()
    began, found = time.monotonic(), []
    if not as_json:
        click.echo(f"{'planted fault':<42}verdict")
    for verdict in verdicts():
        found.append(verdict)
        if not as_json:
            word = "ok" if verdict.localised else "FAILED"
            click.echo(f"{verdict.fault:<42}{word}")
            told = f"blamed: {verdict.blamed}" + ("" if verdict.localised else f"; expected: {verdict.expected}")
            click.echo("\n".join(wrapped(f"    {told}", indent=4)))
    missed = [verdict for verdict in found if not verdict.localised]
    summary = {
        "faults": len(found) - 1,
        "found": sum(verdict.found for verdict in found[1:]),
        "localised": sum(verdict.localised for verdict in found[1:]),
        "seconds": round(time.monotonic() - began, 1),
    }
    if as_json:
        click.echo(json.dumps({"verdicts": [dataclasses.asdict(verdict) for verdict in found], **summary}))
    else:
        click.echo("\n" + "\n".join(f"{key}: {value}" for key, value in summary.items()))
    if missed:
        raise CheckFailed(
            f"The validation misjudged {len(missed)} of {len(found)} versions of the code, the first being the fault "
            f"{missed[0].fault!r}",
            expected=missed[0].expected,
            got=missed[0].blamed,
            remedy="Do not trust its verdicts on this machine before that is understood; report the list",
        )
