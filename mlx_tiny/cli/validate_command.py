"""`mlx-tiny validate`: results held against references, on the machine where they are to be trusted."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import click

from mlx_tiny.errors import CheckFailed, TinyError

if TYPE_CHECKING:
    from mlx_tiny.validate.kernels import Check


@click.command()
@click.option("--kernels", is_flag=True, help="The Metal kernels against float64 formulas.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(kernels: bool, as_json: bool) -> None:
    """Hold what this machine computes against references, and print how far each result is off.

    \b
      mlx-tiny validate --kernels
    """
    if not kernels:
        raise click.UsageError("Say what to validate: --kernels")
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
    """Run all cases and print the table.

    Raises:
        CheckFailed: some kernel is further off than allowed.
    """
    from mlx_tiny.validate.kernels import cases

    checks: list[Check] = []
    for case in cases():
        for check in case.checks():
            if not as_json and not checks:
                click.echo(f"{'kernel':<30}{'shape':<44}{'dtype':<10}{'error':>9}{'allowed':>10}  verdict")
            checks.append(check)
            if not as_json:
                verdict = "ok" if check.passed else f"FAILED {check.note}".rstrip()
                click.echo(
                    f"{check.kernel:<30}{check.shape:<44}{check.dtype:<10}{check.error:>9.1e}{check.allowed:>10.1e}"
                    f"  {verdict}"
                )
    failed = [check for check in checks if not check.passed]
    if as_json:
        click.echo(json.dumps({"checks": [_row(check) for check in checks], "failed": len(failed)}))
    else:
        click.echo(f"{len(checks) - len(failed)} of {len(checks)} results are within their bounds")
    if failed:
        names = ", ".join(sorted({check.kernel for check in failed}))
        raise CheckFailed(
            f"{len(failed)} of {len(checks)} results are further off than allowed, of {names}",
            remedy="Train with --attention mlx --muon plain, and report the table with the machine and macOS version",
        )


def _row(check: Check) -> dict[str, Any]:
    """The check as JSON knows it: no number stands for infinity there."""
    row = {**dataclasses.asdict(check), "passed": check.passed}
    return {**row, "error": check.error if math.isfinite(check.error) else None}
