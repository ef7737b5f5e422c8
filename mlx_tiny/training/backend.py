"""What the training loop needs from a framework, and the default framework, MLX."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any, Protocol

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from mlx_tiny.config import RunConfig
from mlx_tiny.data.prepared import PreparedCorpus
from mlx_tiny.data.tokenizer import Tokenizer
from mlx_tiny.errors import require_finite
from mlx_tiny.linux import kernels, native
from mlx_tiny.linux.lanes import decide_compilation, lanes, prepare
from mlx_tiny.machine.description import device
from mlx_tiny.machine.peaks import matmul_peak
from mlx_tiny.model.counting import Floats
from mlx_tiny.model.mixing import Mixed, Predictions
from mlx_tiny.model.writing import sample_text
from mlx_tiny.ops.implementations import beyond_training
from mlx_tiny.ops.operation import here
from mlx_tiny.records import Progress
from mlx_tiny.tools.processes import peak_memory_bytes
from mlx_tiny.training.arrays import all_finite
from mlx_tiny.training.checkpoint import RunFolder
from mlx_tiny.training.documents import blocks_of
from mlx_tiny.training.evaluate import Evaluation, all_nats, predictions, token_nats, tokens_at_once
from mlx_tiny.training.step import TrainingState, TrainingStep


class State(Protocol):
    """Everything that a training step changes."""

    parameters: dict[str, Any]


Step = Callable[[Any, np.ndarray, float, float], tuple[Any, Any]]


class Backend(Protocol):
    """A framework on a device. States and losses have types of its own; everything else is plain Python and numpy."""

    step: Step
    """Takes state, batch [B, T+1], learning-rate multiplier and momentum; returns a new state, and the mean loss before
    the update, a scalar. `float(loss)` waits until it is computed."""

    @property
    def description(self) -> str:
        """Framework, version and device, for the header and the report."""

    @property
    def implementations(self) -> dict[str, str]:
        """What computes each operation of a step, for the report."""

    def initial_state(self) -> State:
        """New parameters from the run's seed, and moments of zero."""

    def start(self, state: Any, loss: Any) -> None:
        """Start to compute the results of a step, without waiting for them."""

    def wait(self, state: Any, loss: Any) -> None:
        """Wait until the results of a step are computed."""

    def synchronize(self) -> None:
        """Wait until all work is done, and raise the error of the device where some of it failed."""

    def token_nats(self, state: Any, tokens: np.ndarray, limit_tokens: int | None) -> Iterator[Floats]:
        """Negative log-likelihoods of the tokens of a validation file or of its beginning, in their order, some at a
        time, as `evaluate.py` describes."""

    def predictions(
        self, state: Any, tokens: np.ndarray, limit_tokens: int | None
    ) -> Iterator[Iterable[NDArray[np.float64]]]:
        """What `Predictions` consists of, for the same tokens in their order, some at a time."""

    def sample(
        self, state: Any, tokenizer: Tokenizer, *, max_tokens: int, seed: int, mixed: Mixed | None = None
    ) -> str:
        """A text from its beginning to its end or `max_tokens`; of the mixture with counting if given."""

    def all_finite(self, state: Any) -> bool:
        """Whether no weight or moment is NaN or infinite."""

    def save_checkpoint(self, run: RunFolder, name: str, state: Any, progress: Progress) -> None:
        """Write a checkpoint; TinyError where that fails."""

    def load_checkpoint(self, run: RunFolder, name: str) -> tuple[State, Progress]:
        """Read a checkpoint of the run, whichever backend wrote it; TinyError where it is missing or does not fit."""

    def save_weights(self, run: RunFolder, state: Any, step: int) -> None:
        """Write the finished model, and the step at which the run ended."""

    def matmul_peak(self) -> float:
        """Measure the highest rate of matrix products in FLOP/s, in the run's dtype."""

    def peak_memory_bytes(self) -> int:
        """Peak memory so far, of the process or the device."""


def evaluate_text(
    backend: Backend,
    state: Any,
    text: PreparedCorpus,
    limit_tokens: int | None,
    mixed: Mixed | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Strength on the validation text, or on about so many tokens from its beginning; also with counting if given.

    Where nothing is held out, counting knows the text by heart, and the strength with it would say nothing.

    Args:
        done: called with the number of tokens that have been evaluated since the last call.
    """
    parts: Iterable[tuple[Floats, ...]]
    if mixed is not None and not text.record.found.trained_on_validation:
        said = (Predictions(*part) for part in backend.predictions(state, text.valid, limit_tokens))
        parts = all_nats(mixed, text.valid, said)
    else:
        parts = ((part,) for part in backend.token_nats(state, text.valid, limit_tokens))
    gathered = []
    for part in parts:
        gathered.append(part)
        done(len(part[0]))
    nats, *counted = (np.concatenate(values) for values in zip(*gathered, strict=True))
    require_finite(bool(np.isfinite(nats).all()))
    totals: list[float | None] = [float(values.sum()) for values in counted] or [None, None]
    return Evaluation(
        float(nats.sum()),
        len(nats),
        len(nats) * text.valid_bytes / (len(text.valid) - 1),
        totals[0],
        totals[1],
        blocks_of(text.valid, text.tokenizer, nats, *counted[:1]),
    )


class MlxBackend:
    """MLX on its default device.

    Args:
        config: of the run.
        tell: called with lines for the header: what is unusual about how the run computes.
    """

    def __init__(self, config: RunConfig, tell: Callable[[str], None] = lambda _: None) -> None:
        self.config = config
        compiled, why = decide_compilation(config.train.compile)
        if not compiled and config.train.compile:
            tell(f"step not compiled: {why}")
        if compiled and (reason := kernels.why_not_kept()) is not None:
            tell(f"kernels are compiled at each start and cannot be kept: {reason}")
        if native.can_be_here() and (reason := native.why_not()) is not None:
            tell(f"operations not computed in C++, so that steps take longer: {reason}")
        self._training_step = TrainingStep(config, compiled=compiled)
        implementations = self._training_step.implementations
        if not all(choice.is_usual(here()) for choice in implementations):
            tell(f"implementations: {implementations.line(here())}")
        if not (blas := prepare()).active:
            tell(f"warning: {blas.reason}")
        self.step: Step = self._training_step

    @functools.cached_property
    def description(self) -> str:
        # Rounded otherwise than the plain iterations, which older versions took here.
        gram = ", Newton-Schulz on Gram matrices" if self.implementations["muon"] == "cpu" else ""
        in_cpp = ", operations in C++" if "native" in self.implementations.values() else ""
        return f"mlx {version('mlx')} on {device()}, {len(lanes())} lanes{gram}{in_cpp}; {prepare().reason}"

    @property
    def implementations(self) -> dict[str, str]:
        return self._training_step.implementations.to_dict()

    def initial_state(self) -> TrainingState:
        return self._training_step.initial_state()

    def start(self, state: TrainingState, loss: mx.array) -> None:
        mx.async_eval(loss, state.arrays())

    def wait(self, state: TrainingState, loss: mx.array) -> None:
        mx.eval(loss, state.arrays())

    def synchronize(self) -> None:
        mx.synchronize()

    def token_nats(self, state: TrainingState, tokens: np.ndarray, limit_tokens: int | None) -> Iterator[Floats]:
        return token_nats(state.parameters, self.config.model, tokens, limit_tokens=limit_tokens, **self._how)

    def predictions(self, state: TrainingState, tokens: np.ndarray, limit_tokens: int | None) -> Iterator[Predictions]:
        return predictions(state.parameters, self.config.model, tokens, limit_tokens=limit_tokens, **self._how)

    @property
    def _how(self) -> dict[str, Any]:
        """How this run evaluates."""
        train = self.config.train
        return {
            "batch_tokens": tokens_at_once(self.config),
            "dtype": getattr(mx, train.dtype),
            "asked": train.implementation,
        }

    def sample(
        self, state: TrainingState, tokenizer: Tokenizer, *, max_tokens: int, seed: int, mixed: Mixed | None = None
    ) -> str:
        return sample_text(
            state.parameters,
            self.config.model,
            tokenizer,
            max_tokens=max_tokens,
            seed=seed,
            asked=beyond_training(self.config.train.implementation),
            mixed=mixed,
        )

    def all_finite(self, state: TrainingState) -> bool:
        return all_finite(state.arrays())

    def save_checkpoint(self, run: RunFolder, name: str, state: TrainingState, progress: Progress) -> None:
        run.save_checkpoint(name, state, progress)

    def load_checkpoint(self, run: RunFolder, name: str) -> tuple[TrainingState, Progress]:
        return run.load_checkpoint(name)

    def save_weights(self, run: RunFolder, state: TrainingState, step: int) -> None:
        run.save_weights(state.parameters, step)

    def matmul_peak(self) -> float:
        return matmul_peak(self.config.train.dtype)

    def peak_memory_bytes(self) -> int:
        # With unified memory the two overlap, so that the larger one is taken instead of the sum.
        return max(peak_memory_bytes(), 0 if device() == "cpu" else mx.get_peak_memory())
