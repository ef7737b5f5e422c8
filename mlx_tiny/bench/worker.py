"""The process of a competitor of `bench step`, which takes training steps on request.

Each competitor has a process of its own, because settings of allocator and threads hold for a whole process, and to
measure its memory. Requests and answers are JSON, one object per line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlx_tiny.config import RunConfig
from mlx_tiny.errors import TinyError, first_line
from mlx_tiny.machine.hardware import usable_cores
from mlx_tiny.records import from_plain

MULTIPLIER, MOMENTUM = 1.0, 0.95
"""For every step, as in the middle of a run."""
DISTINCT_BATCHES = 4

Step = Callable[[np.ndarray], float]
"""Takes a batch [B, T+1], changes the state, and returns the loss before that when everything is computed."""
Prepared = tuple[Step, str, Callable[[], int]]
"""A step, a description of what computes it, and a function that returns its peak memory in bytes."""


def batches(config: RunConfig) -> list[np.ndarray]:
    """Random tokens, int32 [B, T+1], the same for every competitor."""
    generator = np.random.default_rng(0)
    shape = (config.train.batch_size, config.model.context + 1)
    return [generator.integers(0, config.model.vocabulary_size, shape, dtype=np.int32) for _ in range(DISTINCT_BATCHES)]


def of_mlx(config: RunConfig, weights: dict[str, np.ndarray]) -> Prepared:
    """The step of `mlx-tiny train`, compiled if possible."""
    import mlx.core as mx

    from mlx_tiny.training.backend import MlxBackend
    from mlx_tiny.training.step import TrainingState, TrainingStep

    notes = list[str]()
    backend = MlxBackend(config, notes.append)
    fresh = backend.initial_state()
    parameters = {name: mx.array(array) for name, array in weights.items()}
    held = [TrainingState(parameters, fresh.optimizer)]

    def step(batch: np.ndarray) -> float:
        state, loss = backend.step(held[0], batch, MULTIPLIER, MOMENTUM)
        backend.wait(state, loss)
        held[0] = state
        return float(loss)

    assert isinstance(backend.step, TrainingStep)
    return step, "; ".join([backend.description, *notes]), backend.peak_memory_bytes


def of_torch(config: RunConfig, weights: dict[str, np.ndarray], compiled: bool = False) -> Prepared:
    """The fast step in PyTorch."""
    import torch

    from mlx_tiny.bench.torch_step import TunedStep
    from mlx_tiny.reference.backend import TorchBackend, choose_device

    parameters = {name: torch.from_numpy(array) for name, array in weights.items()}
    tuned = TunedStep(config, parameters, choose_device(), compiled=compiled)
    fused = "; fused norms and AdamW, Muon by banks"
    kept = "; malloc keeps large blocks" if "MALLOC_TRIM_THRESHOLD_" in os.environ else ""
    backend = TorchBackend(_of_reference(config))
    description = f"{backend.description}{fused}{kept}"
    return lambda batch: tuned(batch, MULTIPLIER, MOMENTUM), description, backend.peak_memory_bytes


def of_compiled_torch(config: RunConfig, weights: dict[str, np.ndarray]) -> Prepared:
    """The fast step in PyTorch with torch.compile."""
    step, description, memory = of_torch(config, weights, compiled=True)
    return step, f"{description}; torch.compile", memory


def of_reference(config: RunConfig, weights: dict[str, np.ndarray]) -> Prepared:
    """The step of `mlx-tiny train --backend torch`, which is written to be read."""
    import torch

    from mlx_tiny.reference.backend import TorchBackend

    backend = TorchBackend(_of_reference(config))
    state = backend.initial_state()
    state.parameters = {name: torch.from_numpy(array).to(backend.device) for name, array in weights.items()}
    held = [state]

    def step(batch: np.ndarray) -> float:
        held[0], loss = backend.step(held[0], batch, MULTIPLIER, MOMENTUM)
        backend.wait(held[0], loss)
        return float(loss)

    return step, backend.description, backend.peak_memory_bytes


def _of_reference(config: RunConfig) -> RunConfig:
    train = replace(config.train, backend="torch", implementation="auto", compile=False)
    return replace(config, train=train)


OURS = "mlx_tiny"
COMPETITORS: dict[str, Callable[[RunConfig, dict[str, np.ndarray]], Prepared]] = {
    OURS: of_mlx,
    "torch": of_torch,
    "torch tuned": of_torch,
    "torch compiled": of_compiled_torch,
    "reference": of_reference,
}
"""All competitors. `torch` has PyTorch's defaults; the next two have an allocator that keeps memory, as MLX has."""


def on_cores(count: int) -> str:
    """Name of the step of mlx_tiny on so many cores."""
    return f"{OURS}, {count} core{'s' if count > 1 else ''}"


def _give_equal_terms(products: str) -> str:
    """Let PyTorch use all cores, and TF32 if MLX does; returns a note for the description."""
    import torch

    torch.set_num_threads(usable_cores())
    if products != "tf32" or not torch.cuda.is_available():
        return ""
    torch.set_float32_matmul_precision("high")
    return "; float32 products in TF32"


def _keep_to(cores: int) -> None:
    """Limit this process and its children to so many cores, if the system supports that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.environ["MLX_TINY_LANES"] = str(cores)


def answer_requests(request: dict[str, Any], commands: Any, answer: Callable[[dict[str, Any]], None]) -> None:
    """Prepare a competitor, answer with its description, and then take as many steps as each further line says.

    Args:
        request: `competitor` (in `COMPETITORS`), `config`, `weights` (a file of arrays), `products` (as in `Peaks`),
            and `cores` (how many to use, or None).
        commands: lines, each a number of steps, until the end of the input.
        answer: sends one object.
    """
    config = from_plain(RunConfig, request["config"])
    with np.load(Path(request["weights"])) as file:
        weights = {name: file[name] for name in file.files}
    terms = "" if request["competitor"] == OURS else _give_equal_terms(request["products"])
    if request["cores"] is not None:
        _keep_to(request["cores"])
    step, description, peak_memory_bytes = COMPETITORS[request["competitor"]](config, weights)
    tokens, taken = batches(config), 0
    answer({"description": f"{description}{terms}"})
    for line in commands:
        losses = []
        began = time.perf_counter()
        for _ in range(int(line)):
            losses.append(step(tokens[taken % DISTINCT_BATCHES]))
            taken += 1
        seconds = time.perf_counter() - began
        answer({"seconds": seconds, "losses": losses, "peak_memory_bytes": peak_memory_bytes()})


def main() -> None:
    """Read requests from stdin and answer on stdout; the output of libraries goes to stderr."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(reply: dict[str, Any]) -> None:
        print(json.dumps(reply), file=replies, flush=True)

    try:
        answer_requests(json.loads(sys.stdin.readline()), sys.stdin, answer)
    except (TinyError, RuntimeError, ValueError, MemoryError) as error:
        answer({"failed": first_line(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
