"""Reads and writes the files of arrays of a run, and checks that they are whole and belong to its model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.config import FORMAT_VERSION, RunConfig
from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.files import CHECKSUM, atomic_write, checksum, explained, make_folder, require_ordinary
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.ops.operation import dtype_name
from mlx_tiny.optim.optimizer import initial_state
from mlx_tiny.training.device_errors import device_error

OTHER_VERSION = (
    "Use the version that wrote it (format 1: mlx_tiny 0.1; format 2: commit dfd339b), or train anew with this one"
)
_RESTORE = "Restore it from a copy, or start the run again"

Arrays = dict[str, mx.array]


def save_arrays(path: Path, arrays: Arrays, texts: dict[str, str]) -> None:
    """Write a file of arrays and texts, with a checksum of both; an old file is replaced when the new one is on disk.

    Raises:
        TinyError: disk full, no permission.
    """
    texts = {"format_version": str(FORMAT_VERSION), **texts}
    texts[CHECKSUM] = _checksum(arrays, texts)
    make_folder(path.parent)
    with atomic_write(path) as file:
        mx.save_safetensors(file, arrays, texts)


def open_arrays(path: Path, what: str) -> tuple[Arrays, dict[str, str]]:
    """The arrays and the texts of a file of a run; the arrays are read when they are used.

    Args:
        what: name of the file in errors, such as "checkpoint".

    Raises:
        TinyError: it is missing, damaged, or of another version.
        DeviceError: memory ran out.
    """
    require_ordinary(path, what, "The run may have stopped before it wrote one; start it again")
    arrays, texts = read_arrays(path, what)
    if texts.get("format_version") != str(FORMAT_VERSION):
        raise TinyError(
            f"The {what} {path} was written by another version of mlx_tiny",
            expected=f"format {FORMAT_VERSION}",
            got=texts.get("format_version", "no version"),
            remedy=OTHER_VERSION,
        )
    return arrays, texts


def read_arrays(path: Path, what: str) -> tuple[Arrays, dict[str, str]]:
    """The arrays and the texts of any file of safetensors; see `open_arrays`."""
    require_ordinary(path, what)
    with explained(path):
        open(path, "rb").close()  # MLX would call a file damaged that may not be read
    with _damage_explained(path, what):
        loaded: Any = mx.load(_utf8(path), format="safetensors", return_metadata=True)
    arrays, texts = loaded
    return arrays, texts


def _utf8(path: Path) -> str:
    """The path as MLX takes it: as UTF-8, whatever the locale."""
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError:
        raise TinyError(
            f"The name {path} is not UTF-8, as MLX needs it", remedy="Give the folder of the run another name"
        ) from None


def require_identity(path: Path, what: str, found: str | None, identity: str) -> None:
    """Raise a TinyError when the file is that of a run with other settings."""
    if found != identity:
        raise TinyError(
            f"The {what} {path} belongs to a run of another configuration",
            expected=f"identity {identity}",
            got=found,
            remedy="Restore config.json, or take the run that wrote it",
        )


def require_whole(path: Path, what: str, arrays: Arrays, texts: dict[str, str], expected: Arrays) -> None:
    """Read the arrays, and check that they are those that were written.

    Args:
        expected: arrays of the same names, shapes and types, which need not be computed.

    Raises:
        TinyError: an array is missing, or one too many, or of another shape or type; or damaged, NaN or infinite.
    """
    described, got = _described(expected), _described(arrays)
    if described != got:
        name = next(n for n in [*described, *got] if described.get(n) != got.get(n))
        raise TinyError(
            f"{path} does not fit the run's configuration at {name}",
            expected=described.get(name, "no such array"),
            got=got.get(name, "no such array"),
            remedy="The file is another run's, or config.json was changed: restore both from one copy",
        )
    with _damage_explained(path, what):
        mx.eval(arrays)
    if CHECKSUM in texts and texts[CHECKSUM] != _checksum(arrays, texts):
        raise TinyError(f"The {what} {path} is damaged: its checksum is another", remedy=_RESTORE)
    if not all_finite(arrays.values()):
        raise TinyError(f"The {what} {path} has numbers that are NaN or infinite", remedy=_RESTORE)


def all_finite(arrays: Iterable[mx.array]) -> bool:
    """Whether no array contains NaN or infinity."""
    return all(bool(np.isfinite(array).all()) for array in _computed(arrays))


def model_arrays(config: RunConfig) -> Arrays:
    """What a weights file contains: names, shapes and types of the parameters."""
    return {name: mx.zeros(spec.shape) for name, spec in parameter_specs(config.model).items()}


def state_arrays(config: RunConfig) -> Arrays:
    """What a checkpoint contains: the parameters, and the moments of the optimizer."""
    moments = initial_state(config.optimizer, parameter_specs(config.model))
    return named_state(model_arrays(config), moments)


def named_state(parameters: Arrays, optimizer: Arrays) -> Arrays:
    """The arrays of a state by their names in a checkpoint."""
    return {
        **{f"model.{name}": array for name, array in parameters.items()},
        **{f"optimizer.{name}": array for name, array in optimizer.items()},
    }


def _described(arrays: Arrays) -> dict[str, str]:
    return {name: f"{dtype_name(array.dtype)} {array.shape}" for name, array in arrays.items()}


def _checksum(arrays: Arrays, texts: dict[str, str]) -> str:
    return checksum(dict(zip(arrays, _computed(arrays.values()), strict=True)), texts)


def _computed(arrays: Iterable[mx.array]) -> Iterator[np.ndarray]:
    """The arrays for numpy, which is seven times as fast as MLX at looking for NaN on a CPU; most are not copied."""
    known = list(arrays)
    mx.eval(known)
    mx.synchronize()  # numpy would hide that the work of the GPU has failed
    return (np.asarray(array, order="C") for array in known)


@contextlib.contextmanager
def _damage_explained(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        if (of_device := device_error(error)) is not None:
            raise of_device from error
        raise TinyError(f"The {what} {path} is damaged ({first_line(error)})", remedy=_RESTORE) from error
