"""Reads and writes the files of a run that hold arrays, in the format `safetensors`.

A file is the length of a header (8 bytes, little-endian), the header (JSON: for each array its type, shape, and first
and last byte, and texts under `__metadata__`), and the bytes of the arrays, little-endian. A checkpoint holds the
arrays "model.NAME" and "optimizer.NAME", and the texts `format_version`, `identity` (of the run's configuration) and
`progress` (the run's account, as JSON); a weights file holds the arrays "NAME" and `format_version`. Weights and
moments are float32.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlx_tiny.config import FORMAT_VERSION, ModelConfig, RunConfig, from_dict
from mlx_tiny.errors import TinyError
from mlx_tiny.files import atomic_write, explained, make_folder, read_json
from mlx_tiny.reference.model import Parameters, parameter_shapes
from mlx_tiny.reference.step import TrainingState

_TYPES: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "I32": np.dtype("<i4")}
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
_LENGTH_BYTES = 8

Arrays = dict[str, np.ndarray]


def read_config(run: Path) -> RunConfig:
    """The configuration of the run in a folder.

    Raises:
        TinyError: no run there, or one of another version.
    """
    if not (run / "config.json").exists():
        raise TinyError(f"No run at {run}", remedy="Name the folder that `mlx-tiny train` wrote")
    saved = read_json(run / "config.json", "run configuration")
    if saved.get("format_version") != FORMAT_VERSION:
        raise _other_version(run, saved.get("format_version"))
    return from_dict(RunConfig, saved.get("config", {}))


def save_checkpoint(path: Path, state: TrainingState, identity: str, progress: dict[str, Any]) -> None:
    """Write a checkpoint; an old file stays until the new one is whole.

    Args:
        identity: what `RunFolder.identity` says of the run.
        progress: the account, ready for JSON.

    Raises:
        TinyError: disk full, no permission.
    """
    arrays = {f"model.{name}": _to_numpy(weight) for name, weight in state.parameters.items()}
    arrays |= {f"optimizer.{name}": _to_numpy(value) for name, value in state.optimizer.items()}
    metadata = {"format_version": str(FORMAT_VERSION), "identity": identity, "progress": json.dumps(progress)}
    make_folder(path.parent)
    write_arrays(path, arrays, metadata)


def load_checkpoint(
    path: Path,
    config: ModelConfig,
    identity: str | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[TrainingState, dict[str, Any]]:
    """Read a checkpoint.

    Args:
        config: of the model that it must hold.
        identity: of the run that it must belong to; None takes any.
        dtype, device: of weights and moments; the checkpoint's numbers are float32.

    Returns:
        The state, and the account.

    Raises:
        TinyError: absent, damaged, or of another version, configuration or model.
    """
    arrays, metadata = read_arrays(path)
    if metadata.get("format_version") != str(FORMAT_VERSION):
        raise _other_version(path, metadata.get("format_version", "no version"))
    if identity is not None and metadata.get("identity") != identity:
        raise TinyError(
            f"The checkpoint {path} belongs to a run of another configuration",
            expected=f"identity {identity}",
            got=metadata.get("identity"),
            remedy="Resume the run that wrote it",
        )
    weights = {name.removeprefix("model."): a for name, a in arrays.items() if name.startswith("model.")}
    moments = {name.removeprefix("optimizer."): a for name, a in arrays.items() if name.startswith("optimizer.")}
    parameters = _as_parameters(path, weights, config, dtype, device)
    optimizer = {
        name: torch.from_numpy(array.copy()) if name == "step" else _to_torch(array, dtype, device)
        for name, array in moments.items()
    }
    return TrainingState(parameters, optimizer), json.loads(metadata["progress"])


def save_weights(path: Path, parameters: Parameters) -> None:
    """Write a finished model."""
    arrays = {name: _to_numpy(weight) for name, weight in parameters.items()}
    write_arrays(path, arrays, {"format_version": str(FORMAT_VERSION)})


def load_weights(
    path: Path, config: ModelConfig, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Parameters:
    """Read a finished model's parameters.

    Raises:
        TinyError: absent, damaged, or of another model.
    """
    arrays, _ = read_arrays(path)
    return _as_parameters(path, arrays, config, dtype, device)


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
        TinyError: absent, or not a whole file of this format.
    """
    if not path.exists():
        raise TinyError(f"No file {path}", remedy="The run may have stopped before it wrote one; start it again")
    with explained(path):
        content = path.read_bytes()
    try:
        return _parsed(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TinyError(
            f"The file {path} is damaged ({error})", remedy="Restore it from a copy, or start the run again"
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


def _as_parameters(
    path: Path, arrays: Arrays, config: ModelConfig, dtype: torch.dtype, device: torch.device | str
) -> Parameters:
    """The arrays as parameters in their order, after a check of names and shapes."""
    expected, got = parameter_shapes(config), {name: array.shape for name, array in arrays.items()}
    for name in [*expected, *got]:
        if expected.get(name) != got.get(name):
            raise TinyError(
                f"{path} does not fit the run's configuration at parameter {name}",
                expected=expected.get(name, "no such parameter"),
                got=got.get(name, "no such parameter"),
            )
    return {name: _to_torch(arrays[name], dtype, device) for name in expected}


def _to_torch(array: np.ndarray, dtype: torch.dtype, device: torch.device | str) -> Tensor:
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="))).to(device, dtype)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    """The numbers as a checkpoint holds them: floating ones in float32."""
    tensor = tensor.detach().cpu()
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _other_version(path: Path, got: object) -> TinyError:
    return TinyError(f"{path} was written by another version of mlx_tiny", expected=f"format {FORMAT_VERSION}", got=got)
