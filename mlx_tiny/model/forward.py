"""The transformer: parameters in banks, the forward pass, and counts computed from the configuration.

Dimensions, as suffixes of array names: B batch, T queries, S keys, H query heads, G key/value heads, D width,
K head width, F hidden, V vocabulary, L layers, N = B T.

The model is a decoder-only transformer that the architecture `qwen3` represents exactly when its activation is SwiGLU:
RMSNorm before each sublayer, QK-norm before rotary positions, and factors that fold into the weights (the norm
after the embedding, the scales of the residual stream). Matrices of the same role in all layers form one array with a
leading layer axis, a *bank*, so that the optimizer works on few large arrays instead of many small ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.ops.activation import activate
from mlx_tiny.ops.attention import causal_attention
from mlx_tiny.ops.cross_entropy import head_cross_entropy
from mlx_tiny.ops.norm import rms_norm
from mlx_tiny.ops.qk_norm_rope import qk_norm_rope
from mlx_tiny.ops.rotary import rotary_tables

Parameters = dict[str, mx.array]

# One key and one value array [B, S, G, K] a layer.
Cache = list[tuple[mx.array, mx.array]]

# Is told name and value of an intermediate result; what it returns goes on in its place.
Tap = Callable[[str, mx.array], mx.array]

# All other parameters are banks with a leading layer axis.
_UNLAYERED = ("embedding", "head")


@dataclass(frozen=True)
class ParameterSpec:
    """What is known of a parameter before it exists.

    `kind` says which optimizer group it belongs to; `blocks` are the row counts of the matrices stacked in a bank of
    kind "matrix" (query, key and value lie in one array), which Muon treats one by one.
    """

    shape: tuple[int, ...]
    kind: str
    deviation: float
    """Standard deviation of the normal initialisation; 0 starts at zero (or at one, for norm weights)."""
    blocks: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def parameter_specs(config: ModelConfig) -> dict[str, ParameterSpec]:
    """Shape, optimizer kind and initialisation of every parameter, in a fixed order."""
    c = config
    query_rows, key_rows = c.heads * c.head_width, c.key_value_heads * c.head_width
    input_blocks = (c.hidden, c.hidden) if c.activation == "swiglu" else (c.hidden,)
    # Inputs of sublayers have unit root mean square, so this deviation keeps their outputs at unit scale.
    inner = 1 / math.sqrt(c.width)
    specs = {
        "embedding": ParameterSpec((c.vocabulary_size, c.width), "embedding", inner if c.tied else 1.0),
        "query_key_value": ParameterSpec(
            (c.layers, query_rows + 2 * key_rows, c.width), "matrix", inner, (query_rows, key_rows, key_rows)
        ),
        "attention_output": ParameterSpec((c.layers, c.width, query_rows), "matrix", 0.0, (c.width,)),
        "mlp_input": ParameterSpec((c.layers, sum(input_blocks), c.width), "matrix", inner, input_blocks),
        "mlp_output": ParameterSpec((c.layers, c.width, c.hidden), "matrix", 0.0, (c.width,)),
        "query_norm_weight": ParameterSpec((c.layers, c.head_width), "scalar", 0.0),
        "key_norm_weight": ParameterSpec((c.layers, c.head_width), "scalar", 0.0),
        "residual_scale": ParameterSpec((c.layers, 2), "scalar", 0.0),
    }
    if not c.tied:
        specs["head"] = ParameterSpec((c.vocabulary_size, c.width), "head", 0.0)
    return specs


def initialize(config: ModelConfig, seed: int) -> Parameters:
    """Fresh float32 parameters; output projections and an untied head are zero, norm weights and scales one."""
    parameters = {}
    specs = parameter_specs(config)
    for (name, spec), key in zip(specs.items(), mx.random.split(mx.random.key(seed), len(specs)), strict=True):
        if spec.kind == "scalar":
            parameters[name] = mx.ones(spec.shape)
        elif spec.deviation == 0:
            parameters[name] = mx.zeros(spec.shape)
        else:
            parameters[name] = spec.deviation * mx.random.normal(spec.shape, key=key)
    return parameters


def hidden_states(
    parameters: Parameters,
    config: ModelConfig,
    token_BT: mx.array,
    *,
    dtype: mx.Dtype = mx.float32,
    cache: Cache | None = None,
    filled: mx.array | None = None,
    layers: Sequence[Parameters] | None = None,
    attention: str = "auto",
    tap: Tap = lambda _, array: array,
) -> tuple[mx.array, Cache]:
    """Run the layers over a window of tokens.

    Args:
        token_BT: integer [B, T].
        dtype: of activations and matrix products; the parameters stay float32.
        cache: keys and values of the positions before this window, from an earlier call.
        filled: how many positions of the cache hold anything, an integer scalar; the window is written behind them, and
            all shapes stay as they are. Without it the cache is full and grows.
        layers: of these parameters, as `layers_of` gives them, where they are at hand.
        attention: implementation, as `causal_attention` takes it; `metal`, `cpu` and `auto` hold for
            `qk_norm_rope` too, which serves the others by its plain path.
        tap: let in on every intermediate result, in the order of computation, as "embedded",
            "layer.0.attention.query" and so on.

    Returns:
        The normalised output [B, T, D] that the head multiplies, and the cache with this window in it.
    """
    past = filled if filled is not None else cache[0][0].shape[1] if cache else 0
    tables = rotary_tables(token_BT.shape[1], config.head_width, config.rope_base, offset=past)
    if layers is None:
        layers = layers_of({name: array.astype(dtype) for name, array in parameters.items()}, config)
    x_BTD = tap("embedded", embed(parameters, config, token_BT, dtype))
    grown: Cache = []
    for index, layer in enumerate(layers):
        own = _tap_of_layer(tap, index)
        # Not indexed: the gradient of that would be a sum of two padded arrays.
        scale, second_scale = mx.split(layer["residual_scale"], 2)
        attended, key_value = _attention(
            layer, config, normalize(x_BTD, config), tables, cache[index] if cache else None, filled, attention, own
        )
        x_BTD = own("after_attention", scale * x_BTD + attended)
        x_BTD = own("after_mlp", second_scale * x_BTD + mlp(layer, config, normalize(x_BTD, config), own))
        grown.append(key_value)
    return tap("normalized", normalize(x_BTD, config)), grown


def token_losses(
    parameters: Parameters,
    config: ModelConfig,
    token_BT: mx.array,
    target_BT: mx.array,
    *,
    dtype: mx.Dtype = mx.float32,
    attention: str = "auto",
    tap: Tap = lambda _, array: array,
) -> mx.array:
    """Negative log-likelihood of each target, float32 [B, T], nats; see `hidden_states` for the arguments."""
    hidden_BTD, _ = hidden_states(parameters, config, token_BT, dtype=dtype, attention=attention, tap=tap)
    losses_N = head_cross_entropy(
        hidden_BTD.reshape(-1, config.width), head_matrix(parameters).astype(dtype), target_BT.reshape(-1)
    )
    return losses_N.reshape(target_BT.shape)


def logits(
    parameters: Parameters,
    config: ModelConfig,
    token_BT: mx.array,
    cache: Cache | None = None,
    filled: mx.array | None = None,
    layers: Sequence[Parameters] | None = None,
) -> tuple[mx.array, Cache]:
    """Float32 scores [B, T, V] of the next token at each position, and the cache with this window in it.

    The arguments are those of `hidden_states`.
    """
    hidden_BTD, grown = hidden_states(parameters, config, token_BT, cache=cache, filled=filled, layers=layers)
    return hidden_BTD @ head_matrix(parameters).T, grown


def head_matrix(parameters: Parameters) -> mx.array:
    """The head [V, D]: its own matrix, or the embedding where the two are tied."""
    return parameters.get("head", parameters["embedding"])


def layers_of(parameters: Parameters, config: ModelConfig) -> Sequence[Parameters]:
    """One dictionary a layer. `split` is used because its gradient is one concatenation, not L padded sums."""
    banks = {name: mx.split(bank, config.layers) for name, bank in parameters.items() if name not in _UNLAYERED}
    return [{name: parts[index].squeeze(0) for name, parts in banks.items()} for index in range(config.layers)]


def _tap_of_layer(tap: Tap, index: int) -> Tap:
    return lambda name, array: tap(f"layer.{index}.{name}", array)


def embed(parameters: Parameters, config: ModelConfig, token_BT: mx.array, dtype: mx.Dtype) -> mx.array:
    """The tokens' rows of the embedding, normalised, [B, T, D]."""
    return normalize(parameters["embedding"][token_BT].astype(dtype), config)


def normalize(x_BTD: mx.array, config: ModelConfig) -> mx.array:
    """RMSNorm without a weight (Zhang and Sennrich 2019, arXiv 1910.07467)."""
    return rms_norm(x_BTD, config.norm_epsilon)


def _attention(
    layer: Parameters,
    config: ModelConfig,
    x_BTD: mx.array,
    tables: tuple[mx.array, mx.array],
    past: tuple[mx.array, mx.array] | None,
    filled: mx.array | None,
    implementation: str,
    tap: Tap,
) -> tuple[mx.array, tuple[mx.array, mx.array]]:
    B, T, _ = x_BTD.shape
    H, G, K = config.heads, config.key_value_heads, config.head_width
    projected = (x_BTD @ layer["query_key_value"].T).reshape(B, T, H + 2 * G, K)
    query_BTHK, key_BTGK, value_BTGK = qk_norm_rope(
        projected,
        layer["query_norm_weight"],
        layer["key_norm_weight"],
        tables,
        key_value_heads=G,
        epsilon=config.norm_epsilon,
        implementation=heads_implementation(implementation),
    )
    query_BTHK, key_BTGK = tap("attention.query", query_BTHK), tap("attention.key", key_BTGK)
    value_BTGK = tap("attention.value", value_BTGK)
    if past is not None and filled is not None:
        place = filled.reshape(1)
        key_BTGK, value_BTGK = (
            mx.slice_update(old, new, place, axes=[1]) for old, new in zip(past, (key_BTGK, value_BTGK), strict=True)
        )
        filled = filled + T
    elif past is not None:
        key_BTGK, value_BTGK = (
            mx.concatenate([old, new], axis=1) for old, new in zip(past, (key_BTGK, value_BTGK), strict=True)
        )
    mixed_BTHK = causal_attention(
        query_BTHK, key_BTGK, value_BTGK, scale=1 / math.sqrt(K), implementation=implementation, filled=filled
    )
    mixed_BTHK = tap("attention.mixed", mixed_BTHK)
    output_BTD = tap("attention.output", mixed_BTHK.reshape(B, T, H * K) @ layer["attention_output"].T)
    return output_BTD, (key_BTGK, value_BTGK)


def heads_implementation(attention: str) -> str:
    """What `qk_norm_rope` is asked for beside attention: the same where it has it, else `plain`."""
    return attention if attention in ("auto", "metal", "cpu") else "plain"


def mlp(layer: Parameters, config: ModelConfig, x_BTD: mx.array, tap: Tap = lambda _, array: array) -> mx.array:
    """A layer's MLP, [B, T, D]: squared ReLU, or SwiGLU (Shazeer 2020, arXiv 2002.05202).

    Args:
        layer: its slice of the banks `mlp_input` and `mlp_output`, in the dtype of `x_BTD`.
        tap: as `hidden_states` takes it.
    """
    hidden = activate(x_BTD @ layer["mlp_input"].T, config.activation)
    return tap("mlp.output", tap("mlp.hidden", hidden) @ layer["mlp_output"].T)


def parameter_count(config: ModelConfig) -> int:
    """All trainable numbers."""
    return sum(spec.size for spec in parameter_specs(config).values())


def multiply_adds_per_token(config: ModelConfig, context: int | None = None) -> float:
    """Multiply-adds of the forward pass a token: the matrices, the head, and causal attention's two products.

    A query at position t meets t + 1 keys, so a window of `context` (by default the training length) costs
    2 H K (context + 1) / 2 a token and layer.
    """
    specs = parameter_specs(config)
    matrices = sum(spec.size for spec in specs.values() if spec.kind == "matrix")
    head = config.vocabulary_size * config.width
    keys = ((context or config.context) + 1) / 2
    return matrices + head + config.layers * 2 * config.heads * config.head_width * keys


def training_flops_per_token(config: ModelConfig) -> float:
    """Model FLOPs of a training token: two a multiply-add forward and four backward, nothing recomputed."""
    return 6 * multiply_adds_per_token(config)
