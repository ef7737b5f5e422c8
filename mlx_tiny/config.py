"""Every setting with its default, in frozen dataclasses that check their values.

The docstring of a field is the help text of its flag.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from mlx_tiny.errors import TinyError

FORMAT_VERSION = 3
DTYPES = ("float32", "bfloat16")
BACKENDS = ("mlx", "torch")
TOKENIZERS = ("bpe", "bytes", "characters")
LARGEST_SEED = 2**63 - 1
LARGEST_NUMBERS = {
    "seed": LARGEST_SEED,
    "train_bytes": 2**40,
    "validation_bytes": 2**40,
    "layers": 2**12,
    "context": 2**16,
    "width": 2**20,
    "heads": 2**12,
    "key_value_heads": 2**12,
    "head_width": 2**12,
    "hidden": 2**20,
    "batch_size": 2**20,
    "micro_batches": 2**20,
    "evaluations": 10**4,
    "checkpoints": 10**4,
    "samples": 10**4,
}
"""Where another whole number than 2**31 - 1, the largest length of an array of MLX, is the largest. A run may come from
anyone, and larger ones would only take hours or all memory."""
SMALLEST_FLOAT, LARGEST_FLOAT = 1e-30, 1e30
"""Other numbers but 0 may become 0 or infinite in float32."""
SMALLEST_VOCABULARY, LARGEST_VOCABULARY = 260, 32768


def _require(condition: bool, name: str, expected: str, got: object) -> None:
    if not condition:
        raise TinyError(f"The setting {name} is out of range", expected=expected, got=repr(got))


def _require_representable(config: object) -> None:
    """Refuse numbers that a library could not compute with, by the types of the fields."""
    for described in fields(config):  # type: ignore[arg-type]
        name, value = described.name, getattr(config, described.name)
        if described.type == "int":
            largest = LARGEST_NUMBERS.get(name, 2**31 - 1)
            _require(0 <= value <= largest, name, f"a whole number from 0 to {largest}", value)
        elif described.type == "float":
            holds = value == 0 or SMALLEST_FLOAT <= value <= LARGEST_FLOAT
            _require(holds, name, f"0, or {SMALLEST_FLOAT:g} to {LARGEST_FLOAT:g}", value)


@dataclass(frozen=True)
class DataConfig:
    """Which text the model learns, and how it becomes tokens."""

    sources: tuple[str, ...] = ("auto",)
    """Training text: `stories` (generated), `tinystories` (downloaded once), or files of your own, named by a path, a
    folder or a glob, and again for more. With weights, as `stories:0.3` and `my.txt:0.7`, the sequences are drawn from
    each text in these shares, and strength is measured on each. `auto` takes TinyStories where it is in the cache, and
    `stories` elsewhere."""
    validation: str | None = None
    """Path of validation text; without it a share of the documents is held out."""
    text_column: str | None = None
    """Column of a table, or key of JSON lines, that contains the text; needed only where several could."""
    documents: str = "auto"
    """How a text file becomes documents: `lines`, `blank-lines`, `files` or `whole` (each file is one), or the text of
    the lines between two documents. `auto` finds it."""
    header: bool | None = None
    """Whether the first line of a table names its columns: without it a line that may be a row is refused. Without a
    header `text_column` is a number, from 1."""
    suffix: tuple[str, ...] = ()
    """Also read files with this suffix in folders, such as `.py`."""
    include: tuple[str, ...] = ()
    """Also read files of this name that are left out in folders, such as `README.md`."""
    schema: str | None = None
    """File that says how the rows of a table become histories of events; `mlx-tiny data describe` writes one."""
    held_out: float = 0.02
    """Share of your own documents that is held out for validation where no validation text is named. With 0, strength
    is measured on training text."""
    vocabulary_size: int = 2048
    """Tokens in the vocabulary, 260 to 32768; unless you name a number, a text in few words gets fewer."""
    tokenizer: str = "bpe"
    """What the tokens are: `bpe` (byte pairs), `bytes`, or `characters` (rare ones in bytes)."""
    train_bytes: int = 40_000_000
    """Bytes of training text from `stories` or `tinystories`; with the preset `auto`, what the budget needs."""
    validation_bytes: int = 1_000_000
    """Largest number of bytes of validation text to take from `stories` or `tinystories`."""
    stories_scale: float = 1.0
    """`stories` only: share of its plots and words that is used, above 0 and up to 1."""
    stories_dependency: int = 1
    """`stories` only: how far an effect follows its cause, from 0 (at once) to 3 (many sentences later)."""
    seed: int = 0
    """Seed of the generated stories."""

    def __post_init__(self) -> None:
        size = self.vocabulary_size
        _require(
            SMALLEST_VOCABULARY <= size <= LARGEST_VOCABULARY,
            "vocabulary_size",
            f"{SMALLEST_VOCABULARY} to {LARGEST_VOCABULARY}",
            size,
        )
        _require(self.tokenizer in TOKENIZERS, "tokenizer", " or ".join(TOKENIZERS), self.tokenizer)
        unnamed = self.schema is None or self.tokenizer == "bpe"
        _require(unnamed, "tokenizer", "none beside a schema, which makes the tokens from cells", self.tokenizer)
        for name, unset in (("text_column", None), ("documents", "auto")):
            value = getattr(self, name)
            _require(
                self.schema is None or value == unset, name, "none beside a schema, which names the columns", value
            )
        _require(0 <= self.held_out < 1, "held_out", "a share from 0 to below 1", self.held_out)
        _require(self.train_bytes > 0, "train_bytes", "a positive number of bytes", self.train_bytes)
        _require(self.validation_bytes > 0, "validation_bytes", "a positive number of bytes", self.validation_bytes)
        _require(0 < self.stories_scale <= 1, "stories_scale", "above 0 to 1", self.stories_scale)
        _require(self.stories_dependency in range(4), "stories_dependency", "0 to 3", self.stories_dependency)
        for name in ("sources", "suffix", "include"):
            _require(all(getattr(self, name)), name, "no empty names", getattr(self, name))
        _require(bool(self.sources), "sources", "at least one name", self.sources)
        _require(self.validation != "", "validation", "no empty name", self.validation)
        _require(self.documents.strip() != "", "documents", "a rule or the text of a line", self.documents)
        number = self.text_column is None or (self.text_column.isdecimal() and int(self.text_column) > 0)
        _require(
            self.header is not False or number,
            "text_column",
            "a number from 1 on, as there is no header",
            self.text_column,
        )
        _require_representable(self)


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the transformer."""

    vocabulary_size: int = 2048
    """Tokens in the vocabulary, as the data has it."""
    context: int = 256
    """Tokens T per training sequence, which is also how far back the model can look."""
    layers: int = 4
    """Number of transformer layers L."""
    width: int = 128
    """Width D of the residual stream."""
    heads: int = 4
    """Number of query heads H."""
    key_value_heads: int = 4
    """Number of key/value heads G; must divide the number of heads (grouped-query attention)."""
    head_width: int = 32
    """Width K of a head; an even number, for rotary positions."""
    hidden: int = 512
    """Width F of the hidden layer of the MLP; for `swiglu` two thirds of the preset's, where it is not given."""
    activation: str = "relu2"
    """Activation of the MLP: `relu2` (squared ReLU, two matrices) or `swiglu` (three matrices)."""
    tied: bool = False
    """Use the embedding matrix as the output head too."""
    rope_base: float = 10_000.0
    """Base of the angles of rotary positions."""
    norm_epsilon: float = 1e-6
    """Number that RMSNorm adds to the mean square."""
    options: str = ""
    """Options of the architecture with their values, such as "logit_soft_cap=15,value_embeddings=2"; the command info
    lists them."""

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
        _require_representable(self)
        self.chosen_options()

    def chosen_options(self) -> dict[str, float]:
        """The value of each architecture option that is on.

        Raises:
            TinyError: the text is not a list of NAME=NUMBER, or names one option twice.
        """
        chosen: dict[str, float] = {}
        for pair in filter(None, self.options.split(",")):
            name, _, value = (part.strip() for part in pair.partition("="))
            expected = "pairs NAME=NUMBER, such as logit_soft_cap=15,value_embeddings=2, each name once"
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
    """Optimizer of the matrices of the layers, `muon` or `adamw`; all other parameters are trained by AdamW."""
    matrix_rate: float = 0.02
    """Peak learning rate of Muon; the update of a matrix has this spectral norm, times sqrt(rows / columns) if tall."""
    matrix_adamw_rate: float = 0.003
    """Peak learning rate of the matrices of the layers where AdamW trains them."""
    embedding_rate: float = 0.2
    """Peak learning rate of the embedding."""
    head_rate: float = 0.02
    """Peak learning rate of the output head, where it is not tied to the embedding."""
    scalar_rate: float = 0.01
    """Peak learning rate of norm weights and residual scales."""
    matrix_decay: float = 0.01
    """Weight decay of Muon; decoupled, and multiplied by the learning rate."""
    adamw_decay: float = 0.0
    """Weight decay of AdamW on embedding and head; decoupled, and multiplied by the learning rate."""
    momentum: float = 0.95
    """Momentum of Muon after its warm-up."""
    momentum_start: float = 0.85
    """Momentum of Muon at the first step."""
    momentum_warmup: float = 0.1
    """Fraction of the budget over which the momentum rises."""
    coefficients: str = "polar_express"
    """Coefficients of Muon's Newton-Schulz steps: `quintic` (Jordan 2024) or `polar_express` (arXiv 2505.16932)."""
    newton_schulz_steps: int = 5
    """Number of Newton-Schulz steps in Muon."""
    adam_beta1: float = 0.9
    """Decay rate of the first moment of AdamW."""
    adam_beta2: float = 0.95
    """Decay rate of the second moment of AdamW."""
    adam_epsilon: float = 1e-10
    """Number that AdamW adds to the root of the second moment."""
    clip_norm: float = 0.0
    """Largest norm of all gradients together; larger ones are scaled down to it. 0 turns this off."""

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
        _require_representable(self)


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate, relative to its peak, as a function of the fraction of the budget that is spent."""

    warmup: float = 0.03
    """Fraction of the budget over which the learning rate rises linearly from 0."""
    cooldown: float = 0.5
    """Fraction of the budget, at its end, over which the learning rate falls linearly."""
    floor: float = 0.0
    """Learning rate at the end, relative to the peak."""

    def __post_init__(self) -> None:
        for name in ("warmup", "cooldown", "floor"):
            _require(0 <= getattr(self, name) <= 1, name, "0 to 1", getattr(self, name))
        _require(self.warmup + self.cooldown <= 1, "warmup + cooldown", "at most 1", self.warmup + self.cooldown)
        _require_representable(self)


@dataclass(frozen=True)
class TrainConfig:
    """One run: what it may spend, how it steps, and how often it evaluates and saves."""

    budget: str = "5m"
    """What the run may spend in all, also with `--resume`: seconds (30s, 5m, 1h), tokens (20Mtok, 500ktok) or model
    FLOPs (1e15flop)."""
    preset: str = "auto"
    """Size of the model: tiny, mini, small, base, medium or large; `auto` chooses by budget, speed and memory,
    computes a batch in parts where it would take much memory, and takes the preset `events` where there is a schema."""
    batch_size: int = 16
    """Sequences per step."""
    micro_batches: int = 1
    """Number of equal parts in which a batch is processed one after the other, to save memory."""
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
    """Validation tokens per evaluation during the run; the last evaluation always takes all of them."""
    checkpoints: int = 10
    """Checkpoints during the run, spread over the budget; another one is written at its end."""
    samples: int = 3
    """Sample texts shown during the run."""

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
        _require_representable(self)


@dataclass(frozen=True)
class Sampling:
    """How the tokens of a text are drawn."""

    temperature: float = 0.8
    """Higher values give more varied text; 0 always takes the likeliest token."""
    top_p: float = 0.95
    """Draw from the smallest set of tokens whose probabilities add up to this."""
    top_k: int = 0
    """Draw from so many likeliest tokens; 0 draws from all."""
    min_p: float = 0.0
    """Draw from the tokens that have at least this share of the likeliest token's probability."""
    repetition_penalty: float = 1.0
    """Makes tokens that occurred shortly before less likely; 1 leaves them as they are."""
    seed: int = 0
    """Seed of the random numbers; the same seed gives the same text."""
    max_tokens: int = 256
    """Largest number of tokens to write."""

    def __post_init__(self) -> None:
        for name, holds, expected in (
            ("temperature", 0 <= self.temperature < math.inf, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 to 1"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("min_p", 0 <= self.min_p <= 1, "0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0"),
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
        ):
            _require(holds, name, expected, getattr(self, name))
        _require_representable(self)


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, as saved in its folder."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
