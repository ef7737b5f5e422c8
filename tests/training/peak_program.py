"""A program: trains two steps and evaluates, and prints the peak of memory and what was there before the first step."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np

from mlx_tiny.config import RunConfig
from mlx_tiny.records import from_plain
from mlx_tiny.training.backend import Backend, MlxBackend


def _measure(config: RunConfig) -> dict[str, int]:
    backend: Backend = MlxBackend(config)
    if config.train.backend == "torch":
        from mlx_tiny.reference.backend import TorchBackend

        backend = TorchBackend(config)
    before = re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert before is not None
    state, model = backend.initial_state(), config.model
    ids = np.arange(config.train.batch_size * (model.context + 1), dtype=np.int32) % model.vocabulary_size
    for _ in range(2):
        state, loss = backend.step(state, ids.reshape(-1, model.context + 1), 0.1, 0.9)
        backend.wait(state, loss)
    list(backend.token_nats(state, ids.astype(np.uint16), None))
    return {"before": 1024 * int(before[1]), "peak": backend.peak_memory_bytes()}


if __name__ == "__main__":
    print(json.dumps(_measure(from_plain(RunConfig, json.loads(sys.argv[1])))))
