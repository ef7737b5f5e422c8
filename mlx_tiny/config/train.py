"""Settings of a run: what it may spend, and what it does along the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mlx_tiny.config.checks import require, require_choices, require_representable

DTYPES = ("float32", "bfloat16")
BACKENDS = ("mlx", "torch")
ORDERS = ("cut", "documents")
UNTRACKED = "none"
TRACKERS = (UNTRACKED, "trackio", "wandb", "tensorboard")
LEAST_MEASURED_BYTES = 1000
"""Of a validation text; less says nothing about a model."""
GROWTH = (4, 2)
"""What a sequence or a batch is divided by, in the first and second half of the time in which it is smaller."""


@dataclass(frozen=True)
class TrainConfig:
    """One run: what it may spend, how it steps, and how often it evaluates and saves."""

    choices: ClassVar[dict[str, tuple[str, ...]]] = {
        "order": ORDERS,
        "dtype": DTYPES,
        "backend": BACKENDS,
        "track": TRACKERS,
    }

    budget: str = "5m"
    """What the run may spend in all, also with `--resume`: seconds (30s, 5m, 1h), tokens (20Mtok, 500ktok), model
    FLOPs (1e15flop) or steps (500steps)."""
    preset: str = "auto"
    """Size of the model; `auto` chooses by budget, speed and memory, computes a batch in parts where it would take much
    memory, and takes the preset `events` where there is a schema. Alone or before it, the recipe: `strongest` (usual)
    or `portable` (exact in qwen3), as in `portable-mini`."""
    batch_size: int = 16
    """Sequences per step."""
    micro_batches: int = 1
    """Number of equal parts in which a batch is processed one after the other, to save memory."""
    order: str = "cut"
    """Where training sequences begin: `cut` (the text is cut every `context` tokens), or `documents` (at the beginning
    of each document, and in a long one after every further `context` tokens)."""
    short_sequences: float = 0.0
    """Fraction of the budget, at its beginning, in which sequences are shorter, and as many more: first a quarter of
    `context`, from the middle on half of it."""
    small_batches: float = 0.0
    """Fraction of the budget, at its beginning, in which a batch has fewer sequences: first a quarter, from the middle
    on half."""
    counting: bool = True
    """Count the training text too, and mix the model with that in evaluation and generation; a part of the text, 2 %
    or, of a short one, at most 10 %, is not trained on, to learn how far to trust counting. All is in the budget."""
    dtype: str = "float32"
    """Type of activations and matrix products, `float32` or `bfloat16`; weights and optimizer state are float32."""
    backend: str = "mlx"
    """Library that trains: `mlx`, or `torch` (the PyTorch reference; on CUDA, else MPS, else the CPU)."""
    implementation: str = "auto"
    """What computes the operations of a step: `auto`, `plain`, another implementation, or one per operation, such as
    "attention=mlx,muon=plain"; the command info lists them. The backend torch has `auto` and `plain`."""
    compile: bool = True
    """Compile the step (on a CPU, MLX needs g++ for it)."""
    seed: int = 0
    """Seed of the weights and of the order of the data."""
    evaluations: int = 5
    """Evaluations on validation text, spread over the budget; the last one is at its end."""
    evaluation_tokens: int = 16_384
    """Validation tokens per evaluation during the run; the last evaluation takes more of them."""
    measured_bytes: str = "auto"
    """How much of the validation text the last evaluation reads, from its beginning: `all`, a number of bytes, or
    `auto`: 250 kB in budgets below 30 minutes (on two cores), 1 MB below 4 hours, and 4 MB."""
    checkpoints: int = 10
    """Checkpoints during the run, spread over the budget; another one is written at its end."""
    samples: int = 3
    """Sample texts shown during the run."""
    track: str = UNTRACKED
    """Program that is told the numbers of the run too: `trackio`, `wandb` (offline, unless WANDB_MODE says otherwise),
    or `tensorboard` (in the folder of the run)."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "micro_batches", "evaluations", "evaluation_tokens"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("checkpoints", "samples"):
            require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        require(
            self.batch_size % self.micro_batches == 0,
            "micro_batches",
            f"a divisor of the batch size ({self.batch_size})",
            self.micro_batches,
        )
        chosen = self.measured_bytes in ("auto", "all")
        readable = self.measured_bytes.isdecimal() and len(self.measured_bytes) < 16
        enough = readable and int(self.measured_bytes) >= LEAST_MEASURED_BYTES
        expected = f"auto, all, or at least {LEAST_MEASURED_BYTES} bytes"
        require(chosen or enough, "measured_bytes", expected, self.measured_bytes)
        for name in ("short_sequences", "small_batches"):
            require(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))
        require_choices(self)
        require_representable(self)
