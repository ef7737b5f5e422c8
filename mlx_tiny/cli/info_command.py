"""`mlx-tiny info`: the machine, versions, devices and cache."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Show this machine, what it was measured to do, and what the cache holds."""
    from mlx_tiny.files import cache_home
    from mlx_tiny.linux.lanes import lanes, prepare
    from mlx_tiny.machine.description import describe
    from mlx_tiny.machine.peaks import copy_peak, matmul_peak
    from mlx_tiny.records import to_plain
    from mlx_tiny.units import format_bytes

    blas = prepare()
    home = cache_home()
    values = {
        **to_plain(describe()),
        "blas_note": blas.reason,
        "lanes": len(lanes()),
        "matmul_gflop_per_s": round(matmul_peak() / 1e9, 1),
        "copy_gb_per_s": round(copy_peak() / 1e9, 1),
        "cache": str(home),
        "cache_bytes": _folder_bytes(home),
    }
    if as_json:
        click.echo(json.dumps(values))
        return
    for key, value in values.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {version}" for name, version in value.items() if version is not None)
        if value is not None:
            click.echo(f"{key}: {format_bytes(value) if key.endswith('_bytes') else value}")


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
