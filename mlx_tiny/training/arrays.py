"""Reads the files of arrays of a run, and checks that they belong to its model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlx_tiny.config import FORMAT_VERSION, RunConfig
from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.model.parameters import Parameters, parameter_specs
from mlx_tiny.optim.optimizer import initial_state

OTHER_VERSION = (
    "Use the version that wrote it (format 1: mlx_tiny 0.1; format 2: commit dfd339b), or train anew with this one"
)


def load_arrays(path: Path, what: str) -> tuple[dict[str, mx.array], dict[str, str]]:
    """The arrays and the texts of a file; errors call it `what`, such as "checkpoint".

    Raises:
        TinyError: it is missing or damaged.
    """
    arrays, metadata = open_arrays(path, what)
    with _damage_explained(path, what):
        mx.eval(arrays)
    return arrays, metadata


def open_arrays(path: Path, what: str) -> tuple[dict[str, mx.array], dict[str, str]]:
    """The same without reading the arrays, which is done when they are used."""
    if not path.exists():
        raise TinyError(f"No {what} at {path}", remedy="The run may have stopped before it wrote one; start it again")
    with _damage_explained(path, what):
        loaded: Any = mx.load(str(path), format="safetensors", return_metadata=True)
        arrays, metadata = loaded
    return arrays, metadata


@contextlib.contextmanager
def _damage_explained(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise TinyError(
            f"The {what} {path} is damaged ({first_line(error)})",
            remedy="Restore it from a copy, or start the run again",
        ) from error


def check_version(path: Path, what: str, metadata: dict[str, str]) -> None:
    """Raise a TinyError when another version of mlx_tiny wrote the file."""
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise TinyError(
            f"The {what} {path} was written by another version of mlx_tiny",
            expected=f"format {FORMAT_VERSION}",
            got=metadata.get("format_version", "no version"),
            remedy=OTHER_VERSION,
        )


def check_parameters(path: Path, parameters: Parameters, config: RunConfig) -> None:
    """Raise a TinyError when names or shapes are not those of the run's model."""
    expected = {name: spec.shape for name, spec in parameter_specs(config.model).items()}
    _check_shapes(path, "parameter", expected, parameters)


def check_moments(path: Path, moments: Parameters, config: RunConfig) -> None:
    """Raise a TinyError when names or shapes are not those of the run's optimizer."""
    fresh = initial_state(config.optimizer, parameter_specs(config.model))
    _check_shapes(path, "moment", {name: array.shape for name, array in fresh.items()}, moments)


def _check_shapes(path: Path, what: str, expected: dict[str, tuple[int, ...]], arrays: Parameters) -> None:
    got = {name: array.shape for name, array in arrays.items()}
    if expected != got:
        name = next(n for n in [*expected, *got] if expected.get(n) != got.get(n))
        raise TinyError(
            f"{path} does not fit the run's configuration at {what} {name}",
            expected=expected.get(name, f"no such {what}"),
            got=got.get(name, f"no such {what}"),
            remedy="The file is another run's, or config.json was changed: restore both from one copy",
        )
