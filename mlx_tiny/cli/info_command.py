"""`mlx-tiny info`: shows the machine, versions and cache, and what `mlx-tiny train` can choose from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from mlx_tiny.cli.output import show


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool) -> None:
    """Show this machine, versions and cache, and what `mlx-tiny train` can choose from.

    For every operation, the line "implementations" names the one that `auto` takes here, and all that exist; the lines
    "why" say why. The last lines are the presets, and the options of the architecture.
    """
    from mlx_tiny.config.presets import PRESETS, RECIPES, preset_called
    from mlx_tiny.files import cache_home
    from mlx_tiny.linux import native
    from mlx_tiny.linux.lanes import lanes, prepare
    from mlx_tiny.machine.description import describe
    from mlx_tiny.machine.load import best_look
    from mlx_tiny.machine.peaks import copy_peak, matmul_peak
    from mlx_tiny.model.options import all_options
    from mlx_tiny.records import to_json, to_plain
    from mlx_tiny.study.plan import summary
    from mlx_tiny.tools.tables import block
    from mlx_tiny.training.step import step_implementations

    blas = prepare()
    mini = preset_called("mini").config()
    choices = {choice.operation.name: choice for choice in step_implementations(mini)}
    implementations = {
        name: f"{choice.implementation} (of {', '.join(choice.operation.implementations)})"
        for name, choice in choices.items()
    }
    home, machine = cache_home(), describe()
    matmul, other_cores = best_look(matmul_peak)
    values = {
        **to_plain(replace(machine, state=replace(machine.state, other_cores=other_cores))),
        "blas_note": blas.reason,
        "lanes": len(lanes()),
        "operations_in_cpp": "in use" if (reason := native.why_not()) is None else f"not in use: {reason}",
        "implementations": implementations,
        **{f"why {name}": choice.reason for name, choice in choices.items()},
        "matmul_gflop_per_s": round(matmul / 1e9, 1),
        "copy_gb_per_s": round(copy_peak() / 1e9, 1),
        "cache": str(home),
        "cache_bytes": _folder_bytes(home),
        **{f"recipe {name}": recipe.summary for name, recipe in RECIPES.items()},
        **{f"preset {name}": summary(preset) for name, preset in PRESETS.items()},
        **{f"option {name}": option.summary for name, option in all_options().items()},
    }
    show(to_json(values) if as_json else block(values))


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
