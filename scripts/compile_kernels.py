"""Compile the kernels with Apple's compiler, which needs no GPU; started by scripts/compile_kernels."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from emulator.mlx_text import include_folder
from emulator.table import captured_launches

from mlx_tiny.errors import CheckFailed, TinyError

# What MLX puts in front of a kernel's text.
_IN_FRONT = '#include "mlx/backend/metal/kernels/utils.h"\n'


@click.command()
def main() -> None:
    """Compile every text that MLX generates of the kernels, with each set of template values, by Apple's compiler."""
    try:
        _compile_all()
    except TinyError as error:
        click.echo(f"compile_kernels: {error}", err=True)
        sys.exit(error.exit_code)


def _compile_all() -> None:
    if not shutil.which("xcrun"):
        raise TinyError("There is no Apple compiler here", expected="xcrun", remedy="Run this on a Mac with Xcode")
    texts = {launch.source: launch.name for launch in captured_launches()}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = []
        for number, (text, name) in enumerate(texts.items()):
            paths.append(Path(folder) / f"{name}_{number}.metal")
            paths[-1].write_text(_IN_FRONT + text)
        refused = [said for said in pool.map(_refusal, paths) if said]
    for said in refused:
        click.echo(said, err=True)
    for name, count in Counter(texts.values()).items():
        click.echo(f"{name}: {count} texts")
    if refused:
        raise CheckFailed(f"Apple's compiler refuses {len(refused)} of {len(texts)} texts")
    click.echo(f"Apple's compiler takes all {len(texts)} texts.")


def _refusal(path: Path) -> str | None:
    """What the compiler says of a text that it does not take."""
    command = ["xcrun", "-sdk", "macosx", "metal", "-c", f"-I{include_folder()}", str(path), "-o", f"{path}.air"]
    done = subprocess.run(command, capture_output=True, text=True)
    return f"{path.name}:\n{done.stderr}" if done.returncode else None


if __name__ == "__main__":
    main()
