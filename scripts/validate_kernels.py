"""The table of `mlx-tiny validate --kernels`, through the emulator; started by scripts/validate_kernels."""

from __future__ import annotations

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from emulator import emulated_metal

from mlx_tiny.cli.validate_command import validate_kernels
from mlx_tiny.errors import TinyError


@click.command()
@click.option("--checking", is_flag=True, help="Watch every memory access too; takes several times as long.")
@click.option("--lane-map", type=click.Choice(["apple", "other"]), default="apple", help="Of 8x8 simdgroup matrices.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(checking: bool, lane_map: str, as_json: bool) -> None:
    """Run the Metal kernels through the emulator and print how far each is from its float64 reference."""
    try:
        with emulated_metal(checking=checking, lane_map=lane_map):
            validate_kernels(as_json)
    except TinyError as error:
        click.echo(f"validate_kernels: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
