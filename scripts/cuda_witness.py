"""Run every Metal kernel on an NVIDIA GPU, as CUDA, and hold the results against their float64 references.

    .venv/bin/python scripts/cuda_witness.py

From a checkout whose .venv has the extra `test`. It prints the table of `mlx-tiny validate --kernels` and writes a
record of it, with the card's name, to benchmarks/results/cuda_witness.json. Correctness only: no time is taken. Exit
code 0 where all is within its bounds, 3 where something is not, 1 where there is nothing to run on.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from emulator.cuda import driver, nvrtc
from emulator.cuda.driver import Card, CardError, NoCard
from emulator.cuda.nvrtc import Nvrtc
from emulator.cuda.translation import CudaText
from emulator.cuda.witness import hear, record

from benchmarks.runs import ROOT, commit
from mlx_tiny.errors import CheckFailed, TinyError
from mlx_tiny.files import write_json

FORMAT_VERSION = 1
OUTPUT = ROOT / "benchmarks" / "results" / "cuda_witness.json"


@click.command()
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), default=OUTPUT, help="Where the record goes."
)
@click.option("--lane-map", type=click.Choice(["apple", "other"]), default="apple", help="Of 8x8 simdgroup matrices.")
def main(output: Path, lane_map: str) -> None:
    """Run the Metal kernels as CUDA on an NVIDIA GPU and print how far each is from its float64 reference."""
    try:
        witness(output, lane_map)
    except TinyError as error:
        click.echo(f"cuda_witness: {error}", err=True)
        sys.exit(error.exit_code)


def witness(output: Path, lane_map: str) -> None:
    """Open the card, print the table, write the record.

    Raises:
        TinyError: no GPU, no compiler, or one that is newer than the driver.
        CheckFailed: some kernel is further off than allowed.
    """
    card = _card()
    compiler = _compiler(card)
    architecture = compiler.architecture(card.capability)
    about = {
        "format": FORMAT_VERSION,
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "card": card.name,
        "compute_capability": "{}.{}".format(*card.capability),
        "driver": card.driver,
        "driver_cuda": "{}.{}".format(*card.driver_cuda),
        "nvrtc": "{}.{}".format(*compiler.version),
        "compiled_for": architecture,
        "mlx": importlib.metadata.version("mlx"),
        "lane_map": lane_map,
    }
    for name in ("card", "compute_capability", "driver", "driver_cuda", "nvrtc", "compiled_for", "lane_map"):
        click.echo(f"{name}: {about[name]}")

    def compile_text(kernel: CudaText, lane_map: str) -> bytes:
        return compiler.compile(kernel, architecture=architecture, lane_map=lane_map)

    checks = hear(card, compile_text, lane_map)
    result = record(checks, about)
    write_json(output, result)
    click.echo(f"record: {output}")
    if result["failed"]:
        raise CheckFailed(
            f"{result['failed']} of {result['results']} results on {card.name} are further off than allowed",
            remedy="Run ./scripts/validate_kernels --checking: a fault that shows in both is the kernel's; one that "
            "shows only here may be the header's in tests/emulator/cuda",
        )


def _card() -> Card:
    try:
        return Card()
    except (NoCard, CardError) as reason:
        raise TinyError(
            "There is no GPU here to run the kernels on as CUDA", got=reason, remedy=driver.REMEDY
        ) from None


def _compiler(card: Card) -> Nvrtc:
    if (reason := nvrtc.why_not_nvrtc()) is not None:
        raise TinyError("The kernels cannot be compiled as CUDA here", got=reason, remedy=nvrtc.REMEDY)
    usable = {major: path for major, path in nvrtc.installed().items() if major <= card.driver_cuda[0]}
    if not usable:
        raise TinyError(
            "The compiler NVRTC is newer than NVIDIA's driver",
            expected=f"a compiler for CUDA {card.driver_cuda[0]}",
            got=f"CUDA {', '.join(map(str, nvrtc.installed()))}",
            remedy=f"Update the driver, or pip install nvidia-cuda-nvrtc-cu{card.driver_cuda[0]}",
        )
    return Nvrtc(max(usable.items())[1])


if __name__ == "__main__":
    main()
