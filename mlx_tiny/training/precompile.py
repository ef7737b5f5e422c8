"""A program for `linux/warmup.py`: evaluates one half of a training step on zeros, so that MLX compiles its kernels."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.records import from_plain


def _compile(part: str, values: dict[str, Any]) -> None:
    """Evaluate one half of a step on zeros; together with the second half, generation for the samples."""
    import mlx.core as mx
    import numpy as np

    from mlx_tiny.linux import kernels, warmup
    from mlx_tiny.model.generate import Reader
    from mlx_tiny.training.step import TrainingStep

    config = from_plain(RunConfig, values)
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        kernels.compile_header()
    step = TrainingStep(config, compiled=True)
    state = step.initial_state()
    if part == "gradients":
        batch = np.zeros((config.train.batch_size, config.model.context + 1), dtype=np.int32)
        mx.eval(step.loss_and_gradients(state.parameters, batch))
    else:
        scalars = mx.array(0.0), mx.array(0.0)
        mx.eval(step.update(state.parameters, dict(state.parameters), state.optimizer, *scalars))
        # Samples during the run are on its clock, so their kernels are compiled before it starts.
        reader = Reader(state.parameters, config.model)
        reader.read([0])
        mx.eval(reader.read_next(0) if config.model.context > 1 else ())
    with contextlib.suppress(OSError, TinyError):  # such as a full disk
        kernels.note_needed(warmup.key(config, part))


if __name__ == "__main__":
    _compile(sys.argv[1], json.loads(sys.stdin.readline()))
