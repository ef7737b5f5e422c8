"""Reads and writes the arrays of a run, in the format `safetensors`.

A file is the length of a header (8 bytes, little-endian), the header (JSON: for each array its type, shape, and first
and last byte, and texts under `__metadata__`), and the bytes of the arrays, little-endian. A checkpoint contains the
arrays "model.NAME" and "optimizer.NAME", and the texts `format_version`, `identity` (a hash of the configuration) and
`progress` (the account of the run, as JSON). A weights file contains the arrays "NAME" and the texts `format_version`
and `step` (at which the run ended). Weights and moments are float32.
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
from mlx_tiny.files import atomic_write, explained, make_folder
from mlx_tiny.records import Progress, from_json, to_json
from mlx_tiny.reference.model import Parameters, parameter_shapes
from mlx_tiny.reference.optim import state_shapes
from mlx_tiny.reference.step import TrainingState

_TYPES: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "I32": np.dtype("<i4")}
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
    if identity is not None and metadata.get("identity") != identity:
        raise TinyError(
            f"The checkpoint {path} belongs to a run of another configuration",
            expected=f"identity {identity}",
            got=metadata.get("identity"),
            remedy="Resume the run that wrote it",
        )
    weights = {name.removeprefix("model."): a for name, a in arrays.items() if name.startswith("model.")}
    moments = {name.removeprefix("optimizer."): a for name, a in arrays.items() if name.startswith("optimizer.")}
    parameters = _checked(path, weights, parameter_shapes(config.model), "parameter")
    state = _checked(path, moments, state_shapes(config.model, config.optimizer), "moment")
    optimizer = {
        name: torch.from_numpy(array.copy()) if name == "step" else _to_torch(array, dtype, device)
        for name, array in state.items()
    }
    progress = from_json(Progress, metadata["progress"], f"progress in {path}")
    return TrainingState(_as_parameters(parameters, dtype, device), optimizer), progress


def save_weights(path: Path, parameters: Parameters, step: int) -> None:
    """Write a finished model, and the step at which its run ended."""
    arrays = {name: _to_numpy(weight) for name, weight in parameters.items()}
    write_arrays(path, arrays, {"format_version": str(FORMAT_VERSION), "step": str(step)})


def load_weights(
    path: Path, config: ModelConfig, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Parameters:
    """Read the parameters of a finished model.

    Raises:
        TinyError: missing, damaged, or of another version or model.
    """
    arrays, metadata = read_arrays(path)
    _check_version(path, metadata)
    return _as_parameters(_checked(path, arrays, parameter_shapes(config), "parameter"), dtype, device)


def write_arrays(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    """Write a file of named arrays (float64, float32 or int32) and named texts."""
    header: dict[str, Any] = {"__metadata__": metadata}
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
            file.write(np.ascontiguousarray(array).tobytes())


def read_arrays(path: Path) -> tuple[Arrays, dict[str, str]]:
    """All arrays and texts of a file.

    Raises:
        TinyError: missing, or not a complete file of this format.
    """
    if not path.exists():
        raise TinyError(f"No file {path}", remedy="The run may have stopped before it wrote one; start it again")
    with explained(path):
        content = path.read_bytes()
    try:
        return _parsed(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TinyError(
            f"The file {path} is damaged ({first_line(error)})", remedy="Restore it from a copy, or start the run again"
        ) from error


def _parsed(content: bytes) -> tuple[Arrays, dict[str, str]]:
    begin = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    if len(content) < max(begin, _LENGTH_BYTES):
        raise ValueError("its header is cut short")
    header = json.loads(content[_LENGTH_BYTES:begin])
    metadata = header.pop("__metadata__", {})
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


def _checked(path: Path, arrays: Arrays, expected: dict[str, tuple[int, ...]], what: str) -> Arrays:
    """The arrays in the order of `expected`, after a check of names and shapes."""
    got = {name: array.shape for name, array in arrays.items()}
    for name in [*expected, *got]:
        if expected.get(name) != got.get(name):
            raise TinyError(
                f"{path} does not fit the run's configuration at {what} {name}",
                expected=expected.get(name, f"no such {what}"),
                got=got.get(name, f"no such {what}"),
                remedy="The file is another run's, or config.json was changed: restore both from one copy",
            )
    return {name: arrays[name] for name in expected}


def _as_parameters(arrays: Arrays, dtype: torch.dtype, device: torch.device | str) -> Parameters:
    return {name: _to_torch(array, dtype, device) for name, array in arrays.items()}


def _to_torch(array: np.ndarray, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="))).to(device, dtype)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """The numbers as they are in a checkpoint: floating-point numbers in float32."""
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array
