"""Every default of the project, in frozen dataclasses that check themselves; `records.from_plain` reads them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mlx_tiny.errors import TinyError

FORMAT_VERSION = 2
DTYPES = ("float32", "bfloat16")
BACKENDS = ("mlx", "torch")
SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 512, 32768


def _require(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise TinyError(f"The setting {name} is out of range", expected=expected, got=repr(got))


@dataclass(frozen=True)
class DataConfig:
    """Which text is learned, and how it becomes tokens."""

    source: str = "auto"
    """`auto`, `stories`, `tinystories`, or the path of a file, a folder, or a glob."""
    validation: str | None = None
    """Path of a validation file; without it a share of the documents is held out by hash."""
    text_column: str | None = None
    """Column of a table, or key of a JSON line, that holds the text; found by itself when there is one candidate."""
    held_out: float = 0.02
    """Share of an own corpus's documents that is held out for validation when no file is named."""
    vocabulary_size: int = 2048
    """Pieces of the byte-pair vocabulary, 512 to 32768."""
    train_bytes: int = 40_000_000
    """Bytes of training text from an endless or streamed source; with `preset="auto"`, what the budget can use."""
    validation_bytes: int = 1_000_000
    """Upper bound on the bytes of validation text from an endless or streamed source."""
    stories_scale: float = 1.0
    """`stories` only: share of its plots and words in use, above 0 to 1."""
    stories_dependency: int = 1
    """`stories` only: length of its dependencies, 0 (payoff at once) to 3 (many sentences later)."""
    seed: int = 0
    """Seed of the generated corpus; own corpora do not depend on it."""

    def __post_init__(self) -> None:
        size = self.vocabulary_size
        _require(
            SMALLEST_VOCABULARY <= size <= LARGEST_VOCABULARY,
            "vocabulary_size",
            f"{SMALLEST_VOCABULARY} to {LARGEST_VOCABULARY}",
            size,
        )
        _require(0 < self.held_out < 1, "held_out", "a share above 0 and below 1", self.held_out)
        _require(self.train_bytes > 0, "train_bytes", "a positive number of bytes", self.train_bytes)
        _require(self.validation_bytes > 0, "validation_bytes", "a positive number of bytes", self.validation_bytes)
        _require(0 < self.stories_scale <= 1, "stories_scale", "above 0 to 1", self.stories_scale)
        _require(self.stories_dependency in range(4), "stories_dependency", "0 to 3", self.stories_dependency)


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the transformer; every count in `model.py` is computed from these numbers alone."""

    vocabulary_size: int = 2048
    """Pieces of the tokenizer, which decides."""
    context: int = 256
    """Length T of a training window, and the largest position that generation may use."""
    layers: int = 4
    """Transformer blocks L."""
    width: int = 128
    """Width D of the residual stream."""
    heads: int = 4
    """Query heads; their width is `head_width`."""
    key_value_heads: int = 4
    """Key/value heads G; must divide `heads` (grouped queries)."""
    head_width: int = 32
    """Width K of a head; even, for the rotary pairs."""
    hidden: int = 512
    """Width of the MLP's hidden layer."""
    activation: str = "relu2"
    """`relu2` (squared ReLU, two matrices) or `swiglu` (three matrices)."""
    tied: bool = False
    """Whether the head is the transposed embedding."""
    rope_base: float = 10_000.0
    """Base of the rotary angles."""
    norm_epsilon: float = 1e-6
    """Added to the mean square in RMSNorm."""
    options: str = ""
    """Options of the architecture, such as "logit_soft_cap=15,value_embeddings=2"; each is a file in model/options."""

    def __post_init__(self) -> None:
        for name in ("context", "layers", "width", "heads", "key_value_heads", "head_width", "hidden"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        _require(
            256 <= self.vocabulary_size <= 65536,
            "vocabulary_size",
            "256 to 65536 (tokens are stored in 16 bits)",
            self.vocabulary_size,
        )
        _require(
            self.heads % self.key_value_heads == 0,
            "key_value_heads",
            f"a divisor of heads ({self.heads})",
            self.key_value_heads,
        )
        _require(self.head_width % 2 == 0, "head_width", "an even number (rotary pairs)", self.head_width)
        _require(self.activation in ("relu2", "swiglu"), "activation", "relu2 or swiglu", self.activation)
        _require(1 < self.rope_base < math.inf, "rope_base", "above 1, finite", self.rope_base)
        _require(0 < self.norm_epsilon < math.inf, "norm_epsilon", "above 0, finite", self.norm_epsilon)
        self.chosen_options()

    def chosen_options(self) -> dict[str, float]:
        """The value of each option of the architecture that is on.

        Raises:
            TinyError: they are not pairs of a name and a number, or one is named twice.
        """
        chosen: dict[str, float] = {}
        for pair in filter(None, self.options.split(",")):
            name, _, value = (part.strip() for part in pair.partition("="))
            expected = "pairs of a name and a number, such as logit_soft_cap=15,value_embeddings=2, each name once"
            _require(bool(name) and name not in chosen and _is_number(value), "options", expected, self.options)
            chosen[name] = float(value)
        return chosen


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@dataclass(frozen=True)
class OptimizerConfig:
    """Learning rates at their peak, and the constants of Muon and AdamW."""

    matrix_optimizer: str = "muon"
    """`muon` or `adamw`, for the hidden matrices; everything else is always AdamW's."""
    matrix_rate: float = 0.02
    """Muon's learning rate (each update has spectral norm near `sqrt(max(1, rows/columns))`)."""
    matrix_adamw_rate: float = 0.003
    """Learning rate of the hidden matrices under `matrix_optimizer="adamw"`."""
    embedding_rate: float = 0.2
    """AdamW's learning rate of the embedding."""
    head_rate: float = 0.02
    """AdamW's learning rate of an untied head."""
    scalar_rate: float = 0.01
    """AdamW's learning rate of norm weights and residual scales."""
    matrix_decay: float = 0.01
    """Muon's decoupled weight decay, times its learning rate at each step."""
    adamw_decay: float = 0.0
    """AdamW's decoupled weight decay on embedding and head; norm weights are never decayed."""
    momentum: float = 0.95
    """Muon's momentum after its warm-up."""
    momentum_start: float = 0.85
    """Muon's momentum at the first step."""
    momentum_warmup: float = 0.1
    """Fraction of the budget over which the momentum rises."""
    coefficients: str = "polar_express"
    """`quintic` (Jordan 2024) or `polar_express` (arXiv 2505.16932)."""
    newton_schulz_steps: int = 5
    """Iterations of the orthogonalisation."""
    adam_beta1: float = 0.9
    """AdamW's decay of the first moment."""
    adam_beta2: float = 0.95
    """AdamW's decay of the second moment."""
    adam_epsilon: float = 1e-10
    """Added to the root of AdamW's second moment."""
    clip_norm: float = 0.0
    """Largest global gradient norm; 0 leaves gradients as they are."""

    def __post_init__(self) -> None:
        choices = {"matrix_optimizer": ("muon", "adamw"), "coefficients": ("quintic", "polar_express")}
        for name, allowed in choices.items():
            _require(getattr(self, name) in allowed, name, " or ".join(allowed), getattr(self, name))
        for name in ("matrix_rate", "matrix_adamw_rate", "embedding_rate", "head_rate", "scalar_rate"):
            _require(0 < getattr(self, name) < math.inf, name, "above 0, finite", getattr(self, name))
        for name in ("momentum", "momentum_start", "momentum_warmup", "adam_beta1", "adam_beta2"):
            _require(0 <= getattr(self, name) < 1, name, "0 to below 1", getattr(self, name))
        for name in ("matrix_decay", "adamw_decay", "clip_norm"):
            _require(0 <= getattr(self, name) < math.inf, name, "0 or more, finite", getattr(self, name))
        _require(0 < self.adam_epsilon < math.inf, "adam_epsilon", "above 0, finite", self.adam_epsilon)
        _require(1 <= self.newton_schulz_steps <= 10, "newton_schulz_steps", "1 to 10", self.newton_schulz_steps)


@dataclass(frozen=True)
class ScheduleConfig:
    """Learning-rate multiplier as a function of the fraction of the budget spent."""

    warmup: float = 0.03
    """Fraction of the budget over which the rate rises linearly from 0."""
    cooldown: float = 0.5
    """Fraction of the budget, at its end, over which the rate falls linearly."""
    floor: float = 0.0
    """Multiplier at the very end."""

    def __post_init__(self) -> None:
        for name in ("warmup", "cooldown", "floor"):
            _require(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))
        _require(self.warmup + self.cooldown <= 1, "warmup + cooldown", "at most 1", self.warmup + self.cooldown)


@dataclass(frozen=True)
class TrainConfig:
    """One run: what is spent, in which steps, and what is kept."""

    budget: str = "5m"
    """What to spend: seconds (30s, 5m, 1h), tokens (20Mtok) or model FLOPs (1e15flop)."""
    preset: str = "auto"
    """Size of the model: `auto`, tiny, mini, small, base, medium or large."""
    batch_size: int = 16
    """Windows in one optimizer step, over all micro-batches."""
    micro_batches: int = 1
    """Gradient accumulation: equal parts into which a batch is cut to save memory."""
    dtype: str = "float32"
    """Compute type of activations and matrix products: `float32` or `bfloat16`; weights and moments stay float32."""
    backend: str = "mlx"
    """What trains: `mlx`, or `torch` (the reference in PyTorch, on CUDA, MPS or the CPU, the first that is there)."""
    implementation: str = "auto"
    """What computes the operations of a step: `auto`, `plain`, another one's name, or pairs such as
    "attention=mlx,muon=plain"; `mlx-tiny info` lists them. The backend torch has `auto` and `plain`."""
    compile: bool = True
    """Compile the step to one graph, where the machine can (on a CPU MLX needs g++)."""
    seed: int = 0
    """Seed of the weights and of the order of the data."""
    evaluations: int = 5
    """Evaluations on the validation data, spread over the budget; the last is at its end."""
    evaluation_tokens: int = 16_384
    """Validation tokens of an evaluation along the way; the one at the end always takes them all."""
    checkpoints: int = 10
    """Checkpoints written along the way, spread over the budget, beside the one at the end."""
    samples: int = 3
    """Sample stories shown along the way."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "micro_batches", "evaluations", "evaluation_tokens"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name))
        for name in ("checkpoints", "samples"):
            _require(getattr(self, name) >= 0, name, "0 or more", getattr(self, name))
        _require(
            self.batch_size % self.micro_batches == 0,
            "micro_batches",
            f"a divisor of the batch size ({self.batch_size})",
            self.micro_batches,
        )
        for name, allowed in {"dtype": DTYPES, "backend": BACKENDS}.items():
            _require(getattr(self, name) in allowed, name, " or ".join(allowed), getattr(self, name))


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, as saved beside its weights."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
