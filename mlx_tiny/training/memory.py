"""How much memory a run will take at its peak, computed from shapes before the first step.

MLX frees a result after its last use, and allocates the results of the next operations while earlier ones still
compute. It orders a graph so that everything runs as late as it can. So the peak of a step is one of two moments:
where the head is computed and all layers keep what the backward pass needs, or where the optimizer updates the weights.
Each part below is the arrays that are alive then; measured peaks are in benchmarks/LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlx_tiny.config import ModelConfig, RunConfig
from mlx_tiny.linux.attention import block_count
from mlx_tiny.linux.lanes import lanes, on_cpu
from mlx_tiny.machine.buffers import cache_limit_bytes
from mlx_tiny.model.parameters import parameter_specs
from mlx_tiny.optim.optimizer import muon_parameters
from mlx_tiny.training.evaluate import BATCH_TOKENS

_FLOAT = 4
"""Bytes of a weight, a moment or an activation. With bfloat16 as well: norms and scores have a float32 twin."""

_PROCESS_BYTES = 116 << 20
"""Python, the libraries, the tokenizer and the text, as measured before the first step; 40 MB of it are files."""
_TORCH_BYTES = 350 << 20
"""The same with PyTorch."""
_HOLES = 0.08
"""Share of free places in the heap, between arrays that live longer, that are too small for the next array."""


@dataclass(frozen=True)
class Estimate:
    """Bytes by part at the peak of a run."""

    parts: dict[str, float]

    @property
    def bytes(self) -> int:
        """All parts together."""
        return round(sum(self.parts.values()))


def estimate(config: RunConfig) -> Estimate:
    """The memory that training takes on this machine, by part."""
    torch = config.train.backend == "torch"
    arrays = _largest(_at_the_head(config), _at_the_update(config))
    state = _state(config)
    held = sum(state.values()) + sum(arrays.values())
    if torch or on_cpu():
        kept = {"holes in the heap": _HOLES * held}
    else:
        kept = {"freed buffers that MLX keeps": min(held, cache_limit_bytes())}
    return Estimate({**state, **arrays, **kept, "process": _TORCH_BYTES if torch else _PROCESS_BYTES})


def estimate_of_use(config: RunConfig) -> Estimate:
    """The memory that it takes to load the model of a run, and to compute whole windows of text with it."""
    weights = _state(config)["weights"]
    # The file is read, and a cache of keys and values for a whole context is not more than an evaluation takes.
    parts = {"weights": weights, "file of weights": weights, **_evaluation(config, BATCH_TOKENS)}
    return Estimate({**parts, "process": _PROCESS_BYTES})


def fitting_micro_batches(config: RunConfig, most_bytes: float) -> int | None:
    """The least number of micro-batches with which training takes at most so many bytes; None where none does."""
    size, now = config.train.batch_size, config.train.micro_batches
    for count in (count for count in range(now + 1, size + 1) if size % count == 0):
        if estimate(replace(config, train=replace(config.train, micro_batches=count))).bytes <= most_bytes:
            return count
    return None


def _state(config: RunConfig) -> dict[str, float]:
    matrices, others = _sizes(config)
    return {"weights": _FLOAT * (matrices + others), "moments": _FLOAT * (matrices + 2 * others)}


def _sizes(config: RunConfig) -> tuple[int, int]:
    """Numbers in the parameters that Muon trains, and in those that AdamW trains."""
    specs = parameter_specs(config.model)
    muon = set(muon_parameters(config.optimizer, specs))
    matrices = sum(spec.size for name, spec in specs.items() if name in muon)
    return matrices, sum(spec.size for spec in specs.values()) - matrices


def _at_the_head(config: RunConfig) -> dict[str, float]:
    model, train = config.model, config.train
    compiled = train.backend == "mlx" and train.compile
    tokens = train.batch_size // train.micro_batches * model.context
    matrices, others = _sizes(config)
    step = {
        "activations": _FLOAT * tokens * (model.layers * _kept_per_token(config) + _started_per_token(model)),
        "head": _FLOAT * tokens * _head_copies(compiled) * model.vocabulary_size,
        "sums of gradients": _FLOAT * (matrices + others) * (train.micro_batches > 1),
    }
    return _largest(step, _evaluation(config, tokens))


def _evaluation(config: RunConfig, tokens: int) -> dict[str, float]:
    """Of so many tokens at once, in whole windows; nothing of a layer is kept when the next one is computed."""
    model = config.model
    windows = len(lanes()) * max(1, min(BATCH_TOKENS, tokens) // model.context // len(lanes()))
    floats = _kept_per_token(config) + _started_per_token(model) + _head_copies(True) * model.vocabulary_size
    return {"evaluation": _FLOAT * windows * model.context * floats}


def _largest(*moments: dict[str, float]) -> dict[str, float]:
    return max(moments, key=lambda parts: sum(parts.values()))


def _kept_per_token(config: RunConfig) -> float:
    """Numbers per token and layer that the forward pass keeps for the backward pass."""
    model = config.model
    query, key = model.heads * model.head_width, model.key_value_heads * model.head_width
    # The residual stream before attention and before the MLP, and both normalised.
    residual = 4 * model.width
    # Queries and keys as projected and as turned, values; the result of attention by heads and by positions.
    attention = 2 * (query + key) + key + 2 * query
    # The input of the activation and its result; SwiGLU has two inputs, and keeps its sigmoid.
    mlp = (4 if model.activation == "swiglu" else 2) * model.hidden
    return residual + attention + mlp + model.heads * _scores_per_query(config)


def _scores_per_query(config: RunConfig) -> float:
    """Scores per query and head that are kept: half of all on a CPU, none in the kernels of a GPU."""
    context = config.model.context
    if not on_cpu():
        return 0
    if config.train.dtype == "float32" and config.train.implementation == "auto":
        return (context + context / block_count(context)) / 2
    return 1.5 * context  # the weights, and once more in the type of the values


def _started_per_token(model: ModelConfig) -> float:
    """Numbers per token for which MLX has memory before they are needed: the backward pass of the last MLP.

    MLX starts a certain number of operations ahead, of all lanes together.
    """
    # With them the embedded tokens and the normalised output, and the cotangents of these and of the last layer.
    numbers = (4 if model.activation == "swiglu" else 2) * model.hidden + 11 * model.width
    return numbers / len(lanes())


def _head_copies(compiled: bool) -> float:
    """Arrays as large as the logits: logits, exponentials, what is between the two, and the residual for the gradient.

    A maximum of rows takes a quarter, a sixteenth and so on. Uncompiled, the steps of the exponential are arrays too.
    A GPU has logits, probabilities and the gradient.
    """
    if not on_cpu():
        return 3
    return 4 + 1 / 3 if compiled else 8.5


def _at_the_update(config: RunConfig) -> dict[str, float]:
    matrices, others = _sizes(config)
    return {
        # New weights and momenta, gradients by layer and together, the look-ahead, the banks, and of the five
        # Newton-Schulz steps those for which MLX has memory before they are needed.
        "Muon": 10 * _FLOAT * matrices,
        "AdamW": 4 * _FLOAT * others,  # gradients, both new moments, new weights
        "sums of gradients": _FLOAT * (matrices + others) * (config.train.micro_batches > 1),
    }
