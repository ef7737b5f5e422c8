"""The counting of a run: the training tokens that were counted, and the gate with which the model is mixed with them.

    RUN/counting.safetensors             tokens (uint16), gate (float32), and the checksum of the weights that it is for

The tables are made from the tokens when the run is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlx_tiny.errors import TinyError
from mlx_tiny.machine.memory import require
from mlx_tiny.model.counting import KneserNey, Tokens, counting_bytes
from mlx_tiny.model.mixing import Gate, Mixed
from mlx_tiny.tools.processes import again
from mlx_tiny.training.arrays import open_arrays, require_identity, require_whole, save_arrays
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.device_errors import DeviceError

_WHAT = "file of counting"
_WITHOUT = "Use the model alone with --plain"


def counting_path(run: RunFolder) -> Path:
    return run.path / "counting.safetensors"


def save_counting(run: RunFolder, tokens: Tokens, gate: Gate) -> None:
    """Keep what the finished model, whose weights are written, is mixed with.

    Args:
        tokens: that were counted.

    Raises:
        TinyError: disk full, no permission; or the weights are missing.
    """
    arrays = {"tokens": mx.array(np.asarray(tokens)), "gate": mx.array(gate.weights, mx.float32)}
    texts = {"identity": run.identity(), "weights": run.weights_checksum() or ""}
    save_arrays(counting_path(run), arrays, texts)


def load_counting(run: RunFolder, tell: Callable[[str], None] = lambda _: None) -> Mixed | None:
    """What the finished model of a run is mixed with; None where the run has no counting.

    Args:
        tell: called with a line where the newest weights are not those of the finished model, which have none.

    Raises:
        TinyError: the file is damaged, or belongs to other weights; or it does not fit in memory.
    """
    found = read_counting(run, tell)
    if found is None:
        return None
    tokens, gate = found
    more = f"{_WITHOUT}, or use a machine with more memory"
    require(f"Counting for the run at {run.path}", counting_bytes(len(tokens)), lambda _: more)
    return Mixed(KneserNey(tokens, run.config.model.vocabulary_size, run.load_tokenizer().bos), gate)


def read_counting(run: RunFolder, tell: Callable[[str], None] = lambda _: None) -> tuple[Tokens, Gate] | None:
    """The tokens and the gate of `load_counting`, which see for arguments and errors."""
    path, size = counting_path(run), run.config.model.vocabulary_size
    if not path.exists():
        if run.config.train.counting and run.has_ended():
            tell(f"warning: {path} is missing ({again('train', '--resume', str(run.path))} writes it again)")
        return None
    if not run.has_ended():
        tell("Counting belongs to the finished model: the weights of the last checkpoint are used without it.")
        return None
    try:
        arrays, texts = open_arrays(path, _WHAT)
        require_identity(path, _WHAT, texts.get("identity"), run.identity())
        tokens, gate = (arrays.get(name, mx.zeros(0)) for name in ("tokens", "gate"))
        expected = {"tokens": mx.zeros(tokens.shape, mx.uint16), "gate": mx.zeros(gate.shape)}
        require_whole(path, _WHAT, arrays, texts, expected)
        if texts.get("weights") != run.weights_checksum():
            raise TinyError(f"The {_WHAT} {path} belongs to other weights of the run")
        found = np.array(tokens)
        if not len(found) or found.max() >= size:
            raise TinyError(f"The {_WHAT} {path} has no tokens of the run", expected=f"some, all below {size}")
        return found, Gate(tuple(np.array(gate).tolist()))
    except DeviceError:
        raise
    except TinyError as error:
        remedy = f"{_WITHOUT}, or write the file again: {again('train', '--resume', str(run.path))}"
        raise TinyError(error.failed, expected=error.expected, got=error.got, remedy=remedy) from error
