"""The forms in which a model is exported, and how one of them is written: whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlx_tiny.errors import TinyError
from mlx_tiny.export import folder, gguf
from mlx_tiny.export.model import DTYPES, Export
from mlx_tiny.files import atomic_folder, explained
from mlx_tiny.model.portable import obstacles


@dataclass(frozen=True)
class Target:
    """A form in which a model can be exported."""

    summary: str
    write: Callable[[Export, Path], None]
    """Writes into an empty folder; TinyError where the form cannot represent the model."""
    file: str | None = None
    """Name of the one file of the form; None for a folder."""
    dtypes: tuple[str, ...] = DTYPES[:3]
    programs: tuple[str, ...] = ()
    """Names in `check.PROGRAMS`: what can read it."""
    custom_code: bool = False
    """Whether it can contain code."""


TARGETS: dict[str, Target] = {
    "hf": Target(
        "a folder for transformers and what reads as it does, such as vLLM",
        folder.write_hf,
        programs=("transformers", "mlx-lm"),
        custom_code=True,
    ),
    "mlx": Target("a folder for mlx-lm", folder.write_mlx, programs=("mlx-lm",), custom_code=True),
    "gguf": Target("a file for llama.cpp", gguf.write, "model.gguf", DTYPES, ("llama.cpp",)),
}
"""Every form, by the name that `--to` takes."""


def export(model: Export, target: str, path: Path) -> Path:
    """Write a model for other programs, without looking whether they compute the same; `check.py` does.

    Args:
        target: a name in `TARGETS`.
        path: the folder to write, or the file where the target is one; it must not exist, or be an empty folder.

    Returns:
        `path`.

    Raises:
        TinyError: the target cannot represent the model, there is something at `path`, or the disk is full; then
            nothing is left behind.
    """
    require_exportable(model, target)
    require_free(path)
    form = TARGETS[target]
    if form.file is None:
        with explained(path):
            if path.is_dir():
                path.rmdir()
        with atomic_folder(path) as aside:
            form.write(model, aside)
        return path
    raise TinyError("One file cannot be written yet")


def require_exportable(model: Export, target: str) -> None:
    """Check that a target can represent a model as it is.

    Raises:
        TinyError: it cannot, with the parts of the model that keep it from that, and the way out.
    """
    form, config = TARGETS[target], model.model.config
    if model.dtype not in form.dtypes:
        raise TinyError(f"{target} has no weights in {model.dtype}", expected=" or ".join(form.dtypes))
    if model.custom_code and not form.custom_code:
        raise TinyError(f"A model for {target} cannot contain code", remedy="Leave out --custom-code")
    if not model.custom_code and (found := obstacles(config)):
        parts = "; ".join(f"{name}: {reason}" for name, reason in found.items())
        ways = "Export with --custom-code, or train a model with --preset portable"
        raise TinyError(
            f"qwen3, as which {target} knows the model, cannot represent it exactly ({parts})",
            remedy=ways if form.custom_code else f"{ways.partition(', or ')[2].capitalize()}",
        )


def require_free(path: Path) -> None:
    """Check that nothing is at `path`, or an empty folder; TinyError else."""
    with explained(path):
        if path.is_dir() and not any(path.iterdir()):
            return
    if path.exists() or path.is_symlink():
        raise TinyError(f"{path} exists already", remedy="Name another place, or remove it")
