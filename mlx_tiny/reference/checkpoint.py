"""Reads and writes the arrays of a run, in the format `safetensors`.

A file is the length of a header (8 bytes, little-endian), the header (JSON: for each array its type, shape, and first
and last byte, and texts under `__metadata__`), and the bytes of the arrays, little-endian. A checkpoint contains the
arrays "model.NAME" and "optimizer.NAME", and the texts `format_version`, `identity` (a hash of the configuration) and
`progress` (the account of the run, as JSON). A weights file contains the arrays "NAME" and the texts `format_version`,
`identity` and `step` (at which the run ended). The file of counting contains the arrays "tokens" (uint16, those that
were counted) and "gate", and the texts `format_version`, `identity` and `weights` (the checksum of the weights). All
have the text `checksum`, of all arrays and other texts; files of older versions have none. Weights, moments and gate
are float32, and the number of steps is int32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlx_tiny.config import FORMAT_VERSION, ModelConfig, RunConfig
from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.files import CHECKSUM, atomic_write, checksum, explained, make_folder, parse_json, require_ordinary
from mlx_tiny.records import Progress, progress_from_json, to_json
from mlx_tiny.reference.model import Parameters, parameter_shapes
from mlx_tiny.reference.optim import state_shapes
from mlx_tiny.reference.step import TrainingState

_TYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "U16": np.dtype("<u2"),
}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_LENGTH_BYTES = 8

Arrays = dict[str, np.ndarray]


def save_checkpoint(path: Path, state: TrainingState, identity: str, progress: Progress) -> None:
    """Write a checkpoint; an old file is replaced when the new one is complete.

    Args:
        identity: of the run, from `RunFolder.identity`.

    Raises:
        TinyError: disk full, no permission.
    """
    arrays = {f"model.{name}": _to_numpy(weight) for name, weight in state.parameters.items()}
    arrays |= {f"optimizer.{name}": _to_numpy(value) for name, value in state.optimizer.items()}
    metadata = {"format_version": str(FORMAT_VERSION), "identity": identity, "progress": to_json(progress)}
    make_folder(path.parent)
    write_arrays(path, arrays, metadata)


def load_checkpoint(
    path: Path,
    config: RunConfig,
    identity: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[TrainingState, Progress]:
    """Read a checkpoint.

    Args:
        config: of the run; model and optimizer of the checkpoint must be those.
        identity: of the run; None accepts a checkpoint of any run.
        dtype, device: of weights and moments; the numbers in the checkpoint are float32.

    Returns:
        The state, and the account.

    Raises:
        TinyError: missing, damaged, or of another version, configuration or model.
    """
    arrays, metadata = read_arrays(path)
    _check_version(path, metadata)
    _check_identity(path, metadata, identity)
    names, moments = parameter_shapes(config.model), state_shapes(config.model, config.optimizer)
    groups = {"model": names, "optimizer": moments}
    expected = {f"{group}.{name}": shape for group, shapes in groups.items() for name, shape in shapes.items()}
    checked = _checked(path, arrays, expected)
    parameters = {name: _to_torch(checked[f"model.{name}"], dtype, device) for name in names}
    optimizer = {
        name: torch.from_numpy(array.copy()) if name == "step" else _to_torch(array, dtype, device)
        for name, array in ((name, checked[f"optimizer.{name}"]) for name in moments)
    }
    try:
        progress = progress_from_json(metadata["progress"], f"progress in {path}")
    except (KeyError, ValueError) as error:
        raise _damaged(path, "it does not say how far the run was") from error
    return TrainingState(parameters, optimizer), progress


def save_weights(path: Path, parameters: Parameters, identity: str, step: int) -> None:
    """Write a finished model of the run with this identity, and the step at which the run ended."""
    arrays = {name: _to_numpy(weight) for name, weight in parameters.items()}
    write_arrays(path, arrays, {"format_version": str(FORMAT_VERSION), "identity": identity, "step": str(step)})


def load_weights(
    path: Path, config: ModelConfig, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Parameters:
    """Read the parameters of a finished model.

    Raises:
        TinyError: missing, damaged, or of another version or model.
    """
    arrays, metadata = read_arrays(path)
    _check_version(path, metadata)
    checked = _checked(path, arrays, parameter_shapes(config))
    return {name: _to_torch(array, dtype, device) for name, array in checked.items()}


def write_arrays(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    """Write a file of named arrays (float64, float32, int32 or uint16) and named texts, with a checksum of both."""
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header: dict[str, Any] = {"__metadata__": {**metadata, CHECKSUM: checksum(arrays, metadata)}}
    position = 0
    for name, array in arrays.items():
        end = position + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)  # so that the arrays begin at a multiple of eight
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(_LENGTH_BYTES, "little"))
        file.write(text)
        for array in arrays.values():
            file.write(array.tobytes())


def read_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """All arrays and texts of a file.

    Raises:
        TinyError: missing, or not a complete file of this format, or not as it was written.
    """
    require_ordinary(path, "file of arrays", "The run may have stopped before it wrote one; start it again")
    with explained(path):
        content = path.read_bytes()
    try:
        arrays, metadata = _parsed(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, first_line(error)) from error
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum(arrays, metadata):
        raise _damaged(path, "its checksum is another")
    return arrays, metadata


def _damaged(path: Path, why: str) -> TinyError:
    return TinyError(f"The file {path} is damaged ({why})", remedy="Restore it from a copy, or start the run again")


def _parsed(content: bytes) -> tuple[Arrays, dict[str, str]]:
    begin = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < max(begin, _LENGTH_BYTES):
        raise ValueError("its header is cut short")
    header = parse_json(content[_LENGTH_BYTES:begin])
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("a text is none")
    arrays = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        if not 0 <= first <= last <= len(content) - begin:
            raise ValueError(f"the array {name} is cut short")
        values = np.frombuffer(content[begin + first : begin + last], dtype=_TYPES[entry["dtype"]])
        arrays[name] = values.reshape(entry["shape"])
    return arrays, metadata


def _check_version(path: Path, metadata: dict[str, str]) -> None:
    if (found := metadata.get("format_version", "no version")) != str(FORMAT_VERSION):
        raise TinyError(
            f"{path} was written by another version of mlx_tiny",
            expected=f"format {FORMAT_VERSION}",
            got=found,
            remedy="Use the version that wrote it (format 1: mlx_tiny 0.1), or train anew with this one",
        )


def _check_identity(path: Path, metadata: dict[str, str], identity: str | None) -> None:
    if identity is not None and metadata.get("identity") != identity:
        raise TinyError(
            f"The checkpoint {path} belongs to a run of another configuration",
            expected=f"identity {identity}",
            got=metadata.get("identity"),
            remedy="Resume the run that wrote it",
        )


def _checked(path: Path, arrays: Arrays, expected: dict[str, tuple[int, ...]]) -> Arrays:
    """The arrays in the order of `expected`, after a check of names, shapes, types and numbers."""
    described = {name: f"{_type_of(name)} {shape}" for name, shape in expected.items()}
    got = {name: f"{array.dtype.name} {array.shape}" for name, array in arrays.items()}
    for name in [*described, *got]:
        if described.get(name) != got.get(name):
            raise TinyError(
                f"{path} does not fit the run's configuration at {name}",
                expected=described.get(name, "no such array"),
                got=got.get(name, "no such array"),
                remedy="The file is another run's, or config.json was changed: restore both from one copy",
            )
        if not np.isfinite(arrays[name]).all():
            raise _damaged(path, f"{name} has numbers that are NaN or infinite")
    return {name: arrays[name] for name in expected}


def _type_of(name: str) -> str:
    return "int32" if name == "optimizer.step" else "float32"


def _to_torch(array: np.ndarray, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="))).to(device, dtype)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """The numbers as they are in a checkpoint: floating-point numbers in float32."""
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array
