"""How much memory the forward pass takes, computed from shapes; and what of it is computed at once.

Each number is that of the arrays that are alive at the peak; measured peaks are in benchmarks/LOG.md.
"""

from __future__ import annotations

from dataclasses import replace

from mlx_tiny.config import ModelConfig
from mlx_tiny.linux import native
from mlx_tiny.linux.attention import block_count
from mlx_tiny.linux.lanes import lanes, on_cpu
from mlx_tiny.machine.memory import require, room_bytes
from mlx_tiny.model.parameters import parameter_count
from mlx_tiny.ops.implementations import AUTO

FLOAT_BYTES = 4
"""Of a weight, a moment or an activation. With bfloat16 as well: norms and scores have a float32 twin."""
PROCESS_BYTES = 116 << 20
"""Python, the libraries, the tokenizer and the text, as measured before the first step; 40 MB of it are files."""


def windows_bytes(
    model: ModelConfig, windows: int, dtype: str = "float32", asked: str = AUTO, *, mixed: bool = True
) -> float:
    """Bytes of the activations of so many windows of a whole context, without gradients: of a layer, or of the head.

    Args:
        dtype: of activations.
        asked: implementations of the operations, in the form of `--implementation`.
        mixed: with the numbers that mixing with counting needs, for which the head's loss is not enough.
    """
    # In attention there are the scores as well as their exponentials, which alone are kept.
    in_cpp = computed_in_cpp(dtype, asked)
    scores = _scores_per_query(model.context, dtype, asked, in_cpp)
    layer = kept_per_token(model, dtype, asked, in_cpp) + model.heads * scores
    copies = 1 if in_cpp and not mixed else head_copies(True)
    floats = max(layer, 4 * model.width + copies * model.vocabulary_size)
    return FLOAT_BYTES * windows * model.context * floats


def lanes_at_once(model: ModelConfig, rows: int, dtype: str = "float32", asked: str = AUTO) -> int:
    """How many lanes compute `rows` windows of a whole context each at the same time: all, or as many as fit now.

    Args:
        dtype, asked: see `windows_bytes`.

    Raises:
        TinyError: those of one lane do not fit in the memory that this process may use.
    """
    each, others = windows_bytes(model, rows, dtype, asked), _model_bytes(model)
    _require_windows(model, others + each)
    return max(1, min(len(lanes()), int((room_bytes() - others) / each)))


def require_reading(model: ModelConfig, tokens: int) -> None:
    """Refuse to read so many tokens at once, with a cache for the whole context, where that does not fit.

    Raises:
        TinyError: it does not fit in the memory that this process may use.
    """
    cache = 2 * FLOAT_BYTES * model.layers * model.context * model.key_value_heads * model.head_width
    window = replace(model, context=tokens)
    _require_windows(window, _model_bytes(model) + cache + windows_bytes(window, 1))


def _require_windows(window: ModelConfig, needed_bytes: float) -> None:
    require(
        f"Computing {window.context:,} tokens of text at once",
        round(needed_bytes),
        lambda _: "Give less text at once, or use a model with a shorter context or a machine with more memory",
    )


def _model_bytes(model: ModelConfig) -> float:
    return PROCESS_BYTES + FLOAT_BYTES * parameter_count(model)


def kept_per_token(model: ModelConfig, dtype: str, asked: str, in_cpp: bool) -> float:
    """Numbers per token and layer that the forward pass keeps for the backward pass."""
    query, key = model.heads * model.head_width, model.key_value_heads * model.head_width
    # The residual stream before attention and before the MLP, and both normalised.
    residual = 4 * model.width
    # Queries and keys as projected and as turned, values; the result of attention, by heads too where not in C++.
    attention = 2 * (query + key) + key + (1 if in_cpp else 2) * query
    # The input of the activation and its result; SwiGLU has two inputs, and not in C++ keeps its sigmoid.
    mlp = (4 - in_cpp if model.activation == "swiglu" else 2) * model.hidden
    return residual + attention + mlp + model.heads * _scores_per_query(model.context, dtype, asked, in_cpp)


def _scores_per_query(context: int, dtype: str, asked: str, in_cpp: bool) -> float:
    """Scores per query and head that are kept: half of all on a CPU, none in the kernels of a GPU."""
    if not on_cpu():
        return 0
    if in_cpp:
        return 2  # the largest, and the inverse of the sum
    if dtype == "float32" and asked == AUTO:
        return (context + context / block_count(context)) / 2
    return 1.5 * context  # the weights, and once more in the type of the values


def computed_in_cpp(dtype: str, asked: str) -> bool:
    """Whether the operations in C++ compute."""
    return dtype == "float32" and asked == AUTO and native.why_not() is None


def started_per_token(model: ModelConfig) -> float:
    """Numbers per token for which MLX has memory before they are needed: the backward pass of the last MLP.

    MLX starts a certain number of operations ahead, of all lanes together.
    """
    # With them the embedded tokens and the normalised output, and the cotangents of these and of the last layer.
    numbers = (4 if model.activation == "swiglu" else 2) * model.hidden + 11 * model.width
    return numbers / len(lanes())


def head_copies(compiled: bool) -> float:
    """Arrays as large as the logits: logits, exponentials, what is between the two, and the residual for the gradient.

    A maximum of rows takes a quarter, a sixteenth and so on. Uncompiled, the steps of the exponential are arrays too.
    A GPU has logits, probabilities and the gradient.
    """
    if not on_cpu():
        return 3
    return 4 + 1 / 3 if compiled else 8.5
