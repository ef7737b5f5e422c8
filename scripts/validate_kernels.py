"""The table of `mlx-tiny validate --kernels` on a machine without Metal; started by scripts/validate_kernels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from emulator import emulated_metal
from emulator.cuda.card import REMEDY, Card, CardError
from emulator.cuda.nvrtc import REMEDY as COMPILER_REMEDY
from emulator.cuda.nvrtc import why_not_nvrtc
from emulator.table import compile_table

from mlx_tiny.cli.validate_command import validate_kernels
from mlx_tiny.errors import TinyError


@click.command()
@click.option("--checking", is_flag=True, help="Watch every memory access too; takes several times as long.")
@click.option("--lane-map", type=click.Choice(["apple", "other"]), default="apple", help="Of 8x8 simdgroup matrices.")
@click.option("--cuda", is_flag=True, help="On an NVIDIA GPU, as CUDA, instead of the emulator; nothing is watched.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(checking: bool, lane_map: str, cuda: bool, as_json: bool) -> None:
    """Run the Metal kernels without a Mac and print how far each is from its float64 reference."""
    try:
        run = _card(as_json) if cuda else None
        if run is None:
            compile_table(checking, lane_map)
        with emulated_metal(checking=checking, lane_map=lane_map, run=run):
            validate_kernels(as_json)
    except TinyError as error:
        click.echo(f"validate_kernels: {error}", err=True)
        sys.exit(error.exit_code)


def _card(quiet: bool) -> Callable[..., None]:
    """What launches on the GPU of this machine."""
    try:
        card = Card()
    except CardError as reason:
        raise TinyError("There is no GPU here to run the kernels on as CUDA", got=reason, remedy=REMEDY) from None
    if why_not := why_not_nvrtc():
        raise TinyError("The kernels cannot be compiled as CUDA here", got=why_not, remedy=COMPILER_REMEDY)
    if not quiet:
        click.echo(f"{card.name}, {card.architecture}")
    return card.execute


if __name__ == "__main__":
    main()
