"""`mlx-tiny export`: writes a trained model for other programs, and checks what they compute with it."""

from __future__ import annotations

from pathlib import Path

import click

from mlx_tiny.cli.options import UserPath
from mlx_tiny.cli.output import say, show
from mlx_tiny.export.target import DTYPES, TARGETS


@click.command()
@click.argument("run", type=UserPath())
@click.argument("out", type=UserPath(), required=False)
@click.option(
    "--to",
    "target",
    type=click.Choice(list(TARGETS)),
    required=True,
    help="; ".join(f"{name}: {target.summary}" for name, target in TARGETS.items()) + ".",
)
@click.option(
    "--dtype",
    type=click.Choice(DTYPES),
    default=DTYPES[0],
    show_default=True,
    help="How weights are written; q8_0 is for gguf.",
)
@click.option(
    "--custom-code", is_flag=True, help="Put the code of the model beside it, which its readers have to trust."
)
@click.option(
    "--check/--no-check", default=True, help="Load the export in the programs that are installed.  [default: on]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    run: Path, out: Path | None, target: str, dtype: str, custom_code: bool, check: bool, as_json: bool
) -> None:
    """Write the model in folder RUN for other programs, to OUT or into the folder export of the run.

    A model of the preset portable becomes one of the architecture qwen3, which these programs know. Others need
    --custom-code. Counting is never exported. What is written is loaded in transformers, mlx-lm and llama.cpp where
    they are installed, and compared with the model; a difference is an error with exit code 3.

    \b
      mlx-tiny export runs/notes --to hf
      mlx-tiny export runs/notes --to gguf notes.gguf --dtype q8_0
    """
    write(run, out, target, dtype, custom_code=custom_code, check=check, as_json=as_json)


def write(
    run: Path,
    out: Path | None,
    target: str,
    dtype: str = DTYPES[0],
    *,
    custom_code: bool = False,
    check: bool = True,
    as_json: bool = False,
) -> None:
    """Export a run, and say and check it; see `command`.

    Raises:
        CheckFailed: a program computes something else with the export.
    """
    from mlx_tiny.export.check import Comparison, compare, require_equal, table
    from mlx_tiny.export.model import load_export
    from mlx_tiny.export.target import export, remarks, usual_place
    from mlx_tiny.records import to_json
    from mlx_tiny.tools.tables import block
    from mlx_tiny.tools.waiting import Waiting

    loaded = load_export(run, dtype, custom_code=custom_code, tell=say)
    path = out or usual_place(run, target)
    with Waiting("writing the export"):
        export(loaded, target, path)
    for remark in remarks(loaded, target):
        say(remark)
    comparisons: list[Comparison] = []
    if check:
        comparisons = compare(loaded, target, path, say, Waiting)
        for line in table(comparisons) if comparisons else ():
            say(line)
    require_equal(comparisons, path)
    values = {"export": str(path)}
    show(to_json({**values, "checks": comparisons}) if as_json else block(values))
