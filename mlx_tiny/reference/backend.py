"""Training by the reference: `mlx-tiny train --backend torch`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from mlx_tiny.config import RunConfig, Sampling
from mlx_tiny.errors import TinyError
from mlx_tiny.records import Progress
from mlx_tiny.reference.checkpoint import load_checkpoint, save_checkpoint, save_weights
from mlx_tiny.reference.evaluate import predictions, token_nats
from mlx_tiny.reference.generate import generate_tokens
from mlx_tiny.reference.step import TrainingState, initial_state, training_step
from mlx_tiny.tools.processes import peak_memory_bytes

_PEAK_SIZES = {"cuda": 8192, "mps": 4096, "cpu": 1024}
_PEAK_SECONDS = 0.3


class Run(Protocol):
    """The part of `RunFolder` that is needed here."""

    @property
    def weights(self) -> Path: ...
    def checkpoint(self, name: str) -> Path: ...
    def identity(self) -> str: ...


class Mixture(Protocol):
    """Counting, with which a model is mixed."""

    def log_probabilities(self, context: Sequence[int], scores_V: np.ndarray) -> np.ndarray: ...


class Tokenizer(Protocol):
    """The part of the tokenizer that is needed here."""

    @property
    def bos(self) -> int: ...
    def decode(self, ids: list[int]) -> str: ...


def choose_device() -> torch.device:
    """CUDA, else MPS (the GPU of a Mac), else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def attention_of(asked: str) -> str:
    """The attention of the reference, `fused` or `plain`, for the setting `implementation`.

    Raises:
        TinyError: the reference has no such implementation.
    """
    ways = {"auto": "fused", "plain": "plain"}
    if asked not in ways:
        raise TinyError(f"The backend torch has no implementation {asked!r}", expected=f"one of {', '.join(ways)}")
    return ways[asked]


def held_bytes(device: torch.device) -> int:
    """Most memory held so far, of the process or the device."""
    held = 0
    if device.type == "cuda":
        held = torch.cuda.max_memory_allocated(device)
    elif device.type == "mps":
        held = torch.mps.driver_allocated_memory()  # the present value, because MPS keeps no peak
    return max(peak_memory_bytes(), held)


class TorchBackend:
    """PyTorch on the best device that it finds, with the methods that `mlx_tiny/training/backend.py` describes.

    Args:
        config: of the run. Attention is PyTorch's own (`auto`) or the explicit one (`plain`).
        tell: called with lines for the header, about what cannot be as asked.
        device: instead of the one that `choose_device` finds.
    """

    def __init__(
        self,
        config: RunConfig,
        tell: Callable[[str], None] = lambda _: None,
        device: torch.device | None = None,
    ) -> None:
        self.config, self.device = config, device or choose_device()
        self._dtype = getattr(torch, config.train.dtype)
        self._attention = attention_of(config.train.implementation)
        self.step: Callable[[Any, np.ndarray, float, float], tuple[Any, Any]] = self._step
        if config.train.compile:
            tell("step not compiled: the backend torch runs operation by operation")

    @property
    def description(self) -> str:
        """Version, device and attention."""
        where = f"{self.device.type}, {torch.get_num_threads()} threads"
        if self.device.type == "cuda":
            where = f"cuda ({torch.cuda.get_device_name(self.device)})"
        elif self.device.type == "mps":
            where = "mps"
        return f"torch {torch.__version__} on {where}; {self._attention} attention"

    @property
    def implementations(self) -> dict[str, str]:
        """What computes the operations: all but attention is spelled out."""
        return {"attention": "torch" if self._attention == "fused" else "plain"}

    def _step(
        self, state: TrainingState, batch: np.ndarray, multiplier: float, momentum: float
    ) -> tuple[TrainingState, torch.Tensor]:
        return training_step(state, self.config, batch, multiplier, momentum, attention=self._attention)

    def initial_state(self) -> TrainingState:
        return initial_state(self.config, device=self.device)

    def start(self, state: TrainingState, loss: torch.Tensor) -> None:
        """Nothing to do: PyTorch starts to compute when an operation is called."""

    def wait(self, state: TrainingState, loss: torch.Tensor) -> None:
        self.synchronize()

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    def token_nats(self, state: TrainingState, tokens: np.ndarray, limit_tokens: int | None) -> Iterator[np.ndarray]:
        return token_nats(
            state.parameters,
            self.config.model,
            tokens,
            limit_tokens=limit_tokens,
            dtype=self._dtype,
            attention=self._attention,
        )

    def predictions(self, state: TrainingState, tokens: np.ndarray, limit_tokens: int | None) -> Iterator[np.ndarray]:
        return predictions(
            state.parameters,
            self.config.model,
            tokens,
            limit_tokens=limit_tokens,
            dtype=self._dtype,
            attention=self._attention,
        )

    def sample(
        self, state: TrainingState, tokenizer: Tokenizer, *, max_tokens: int, seed: int, mixed: Mixture | None = None
    ) -> str:
        standard = Sampling()
        drawn = generate_tokens(
            state.parameters,
            self.config.model,
            [tokenizer.bos],
            max_tokens=max_tokens,
            temperature=standard.temperature,
            top_p=standard.top_p,
            seed=seed,
            stop=tokenizer.bos,
            mixture=None if mixed is None else _probabilities(mixed),
        )
        return tokenizer.decode(list(drawn))

    def all_finite(self, state: TrainingState) -> bool:
        return all(bool(torch.isfinite(a).all()) for a in (*state.parameters.values(), *state.optimizer.values()))

    def save_checkpoint(self, run: Run, name: str, state: TrainingState, progress: Progress) -> None:
        save_checkpoint(run.checkpoint(name), state, run.identity(), progress)

    def load_checkpoint(self, run: Run, name: str) -> tuple[TrainingState, Progress]:
        return load_checkpoint(run.checkpoint(name), self.config, run.identity(), device=self.device)

    def save_weights(self, run: Run, state: TrainingState, step: int) -> None:
        save_weights(run.weights, state.parameters, run.identity(), step)

    def matmul_peak(self) -> float:
        size = _PEAK_SIZES[self.device.type]
        matrix = torch.ones((size, size), dtype=self._dtype, device=self.device)
        durations: list[float] = []
        while len(durations) < 4 or sum(durations) < _PEAK_SECONDS:
            began = time.perf_counter()
            matrix @ matrix
            self.synchronize()
            durations.append(time.perf_counter() - began)
        return 2.0 * size**3 / min(durations)

    def peak_memory_bytes(self) -> int:
        return held_bytes(self.device)


def _probabilities(mixed: Mixture) -> Callable[[list[int], np.ndarray], np.ndarray]:
    """What `generate_tokens` asks of a mixture."""
    return lambda window, scores_V: np.exp(mixed.log_probabilities(window, scores_V))
