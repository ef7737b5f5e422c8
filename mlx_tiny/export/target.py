"""The forms in which a model is exported, and how one of them is written: whole, or not at all."""

from __future__ import annotations

import contextlib
import glob
import importlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlx_tiny.errors import TinyError
from mlx_tiny.files import explained, folder_aside, make_folder, remove_leftovers, sync_file, sync_folder
from mlx_tiny.tools.processes import installing

if TYPE_CHECKING:
    from mlx_tiny.config import ModelConfig
    from mlx_tiny.export.model import Export

DTYPES = ("float32", "float16", "bfloat16", "q8_0")
"""How weights can be written; the last in GGUF only."""
INSTALL = f"Install it with `{installing('mlx-tiny[export,reference]')}`"


@dataclass(frozen=True)
class Target:
    """A form in which a model can be exported."""

    summary: str
    writer: tuple[str, str]
    """Module of this folder, and its function, which takes the `Export` and a path: an empty folder to be filled, or
    the file to be written."""
    suffix: str = ""
    """Of the one file of the form; empty where it is a folder."""
    dtypes: tuple[str, ...] = DTYPES[:3]
    package: str = ""
    """What the writer needs, beside what is always installed."""
    programs: tuple[str, ...] = ()
    """Names in `check.PROGRAMS`: what can read it."""
    custom_code: bool = False
    """Whether it can contain code."""


TARGETS: dict[str, Target] = {
    "hf": Target(
        "a folder for transformers and what reads as it does",
        ("folder", "write_hf"),
        programs=("transformers", "mlx-lm"),
        custom_code=True,
    ),
    "mlx": Target("a folder for mlx-lm", ("folder", "write_mlx"), programs=("mlx-lm",), custom_code=True),
    "gguf": Target("a file for llama.cpp", ("gguf", "write"), ".gguf", DTYPES, "gguf", ("llama.cpp",)),
}
"""Every form, by the name that `--to` takes."""


def usual_place(run: Path, target: str) -> Path:
    """Where an export of a run goes for which the user named no place."""
    suffix = TARGETS[target].suffix
    return run / "export" / (run.absolute().name + suffix if suffix else target)


def export(model: Export, target: str, path: Path) -> None:
    """Write a model for other programs, without looking whether they compute the same; `check.py` does.

    Args:
        target: a name in `TARGETS`.
        path: of the folder, or the file where the target is one; nothing is there, or an empty folder.

    Raises:
        TinyError: the target cannot represent the model, there is something at `path`, or the disk is full; then
            nothing is left behind.
    """
    require_exportable(model.model.config, target, model.dtype, custom_code=model.custom_code)
    module, function = TARGETS[target].writer
    with _aside(path, bool(TARGETS[target].suffix)) as aside:
        getattr(importlib.import_module(f"mlx_tiny.export.{module}"), function)(model, aside)


def remarks(model: Export, target: str) -> Iterator[str]:
    """Sentences about what a target does not represent as it is in the model, or not as it was asked for."""
    if not model.custom_code:
        from mlx_tiny.export import qwen3

        yield from qwen3.remarks(model.model.parameters)
    if target == "gguf":
        from mlx_tiny.export import gguf

        yield from gguf.remarks(model)


def require_exportable(config: ModelConfig, target: str, dtype: str = DTYPES[0], *, custom_code: bool = False) -> None:
    """Check that a target can represent a model, and that what writes it is installed.

    Raises:
        TinyError: it cannot, with the parts of the model that keep it from that, and the way out.
    """
    from mlx_tiny.model.portable import obstacles

    form = TARGETS[target]
    if dtype not in form.dtypes:
        raise TinyError(f"--to {target} has no weights in {dtype}", expected=" or ".join(form.dtypes))
    if custom_code and not form.custom_code:
        raise TinyError(f"{form.summary.capitalize()} cannot contain code", remedy="Leave out --custom-code")
    if not custom_code and (found := obstacles(config)):
        with_code = (
            f"`mlx-tiny export RUN --to {target} --custom-code` puts the code of the model beside it; else train "
        )
        raise TinyError(
            "The model cannot be exported as it is, because the architecture qwen3 cannot represent it exactly",
            got="; ".join(f"{name}: {reason}" for name, reason in found.items()),
            remedy=(with_code if form.custom_code else "Train ") + "one that can be with --preset portable",
        )
    if form.package and importlib.util.find_spec(form.package) is None:
        raise TinyError(f"The package {form.package} is not installed, and --to {target} needs it", remedy=INSTALL)


def require_free(path: Path) -> None:
    """Check that nothing is at `path`, or an empty folder.

    Raises:
        TinyError: there is something.
    """
    with explained(path):
        if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
            raise TinyError(f"{path} exists already", remedy="Name another place for the export, or remove it")


@contextlib.contextmanager
def _aside(path: Path, is_file: bool) -> Iterator[Path]:
    """What becomes the file or folder `path` only when the block ends without an exception."""
    require_free(path)
    make_folder(path.parent)
    remove_leftovers(path.parent, glob.escape(path.name))
    with explained(path):
        folder = folder_aside(path)
        aside = folder / path.name
        try:
            if not is_file:
                aside.mkdir()
            yield aside
            for part in (aside, *aside.rglob("*")):
                sync_file(part)
            require_free(path)
            if is_file and path.is_dir():
                path.rmdir()
            os.rename(aside, path)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        sync_folder(path.parent)
