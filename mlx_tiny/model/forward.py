"""The forward pass of the transformer; start with `hidden_states`.

Dimensions, as suffixes of array names: B batch, T queries, S keys, H query heads, G key/value heads, D width,
K head width, F hidden, V vocabulary, L layers, N = B T.

The model is a decoder-only transformer that the architecture `qwen3` represents exactly when its activation is SwiGLU:
RMSNorm before attention and MLP, QK-norm before rotary positions, and factors that fold into the weights (the norm
after the embedding, the residual scales). The argument `implementations` says what computes each operation. Options of
the architecture change intermediate results, which `Taps` passes to them by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.errors import TinyError
from mlx_tiny.model.options import Place, changed, changed_places
from mlx_tiny.model.parameters import Parameters, head_matrix, layers_of, parameter_specs
from mlx_tiny.ops.cross_entropy import CROSS_ENTROPY, losses_of_logits
from mlx_tiny.ops.implementations import AUTO, PLAIN, Choice, Implementations, parse
from mlx_tiny.ops.qk_norm_rope.plain import rotary_tables

# One key and one value array [B, S, G, K] per layer.
Cache = list[tuple[mx.array, mx.array]]

# Takes name and value of an intermediate result, and returns the value to use instead.
Tap = Callable[[str, mx.array], mx.array]
Sublayer = Callable[[mx.array], mx.array]


@dataclass(frozen=True)
class StandIns:
    """Cheap functions instead of parts of the model, to time the model without them; None keeps the part."""

    norm: Sublayer | None = None
    attention: Sublayer | None = None
    """Takes the normalised residual stream [B, T, D]."""
    mlp: Sublayer | None = None
    head: Sublayer | None = None
    """Takes the normalised output; its result is used as the losses."""


class Window(NamedTuple):
    """The positions that are computed at once: their rotary tables [T, 1, K/2], and the cache of those before them."""

    cosine: mx.array
    sine: mx.array
    cache: Cache
    filled: mx.array | None


@dataclass(frozen=True)
class Taps:
    """Passes the intermediate results of a layer, or of the whole model, to the options and to a tap."""

    tap: Tap
    prefix: str
    place: Place
    changed: frozenset[str]

    def __call__(self, name: str, array: mx.array, /) -> mx.array:
        if name in self.changed:
            array = changed(name, array, self.place)
        return self.tap(self.prefix + name, array)

    def of_layer(self, index: int, layer: Parameters, embedded_BTD: mx.array) -> Taps:
        place = self.place._replace(parameters={**self.place.parameters, **layer}, embedded=embedded_BTD)
        return Taps(self.tap, f"layer.{index}.", place, self.changed)


def hidden_states(
    parameters: Parameters,
    config: ModelConfig,
    token_BT: mx.array,
    implementations: Implementations,
    *,
    dtype: mx.Dtype = mx.float32,
    cache: Cache | None = None,
    filled: mx.array | None = None,
    layers: Sequence[Parameters] | None = None,
    before_B1: mx.array | None = None,
    stand_ins: StandIns | None = None,
    tap: Tap = lambda _, array: array,
) -> tuple[mx.array, Cache]:
    """Run the layers over a window of tokens.

    Args:
        token_BT: integer [B, T].
        implementations: what computes each operation.
        dtype: of activations and matrix products; the parameters stay float32.
        cache: keys and values of the positions before this window, from an earlier call.
        filled: number of positions of the cache that are used, an integer scalar. The window is written after them, and
            the cache keeps its size. Without `filled` all positions are used, and the cache grows.
        layers: the result of `layers_of(parameters, config)`, if the caller has it.
        before_B1: the token before the window, integer [B, 1]; None if there is none.
        stand_ins: replacements for parts of the model.
        tap: called with every intermediate result, in the order of computation, as "embedded",
            "layer.0.attention.query" and so on.

    Returns:
        The normalised output [B, T, D], which is the input of the head, and the cache including this window.
    """
    past = filled if filled is not None else cache[0][0].shape[1] if cache else 0
    window = Window(
        *rotary_tables(token_BT.shape[1], config.head_width, config.rope_base, offset=past), cache or [], filled
    )
    typed = {name: array.astype(dtype) for name, array in parameters.items()}
    if layers is None:
        layers = layers_of(typed, config)
    parts = stand_ins or StandIns()
    taps = Taps(tap, "", _place(typed, config, token_BT, before_B1, dtype), changed_places(config))

    def normalize(x_BTD: mx.array) -> mx.array:
        return parts.norm(x_BTD) if parts.norm else normalized(x_BTD, config, implementations)

    x_BTD = embedded_BTD = taps("embedded", normalize(embed(parameters, token_BT, dtype)))
    grown: Cache = []
    for index, layer in enumerate(layers):
        own = taps.of_layer(index, layer, embedded_BTD)
        # Split instead of indexed, because the gradient of indexing would be a sum of two padded arrays.
        scale, second_scale = mx.split(layer["residual_scale"], 2)
        if parts.attention:
            attended_BTD = parts.attention(normalize(x_BTD))
        else:
            attended_BTD, key_value = attention(layer, config, normalize(x_BTD), window, index, implementations, own)
            grown.append(key_value)
        x_BTD = own("after_attention", scale * x_BTD + attended_BTD)
        x_norm_BTD = normalize(x_BTD)
        changed_BTD = parts.mlp(x_norm_BTD) if parts.mlp else mlp(layer, config, x_norm_BTD, implementations, own)
        x_BTD = own("after_mlp", second_scale * x_BTD + changed_BTD)
    return taps("normalized", normalize(x_BTD)), grown


def token_losses(
    parameters: Parameters,
    config: ModelConfig,
    token_BT: mx.array,
    target_BT: mx.array,
    implementations: Implementations,
    *,
    dtype: mx.Dtype = mx.float32,
    stand_ins: StandIns | None = None,
    tap: Tap = lambda _, array: array,
) -> mx.array:
    """Negative log-likelihood of each target, float32 [B, T], nats; see `hidden_states` for the arguments."""
    hidden_BTD, _ = hidden_states(
        parameters, config, token_BT, implementations, dtype=dtype, stand_ins=stand_ins, tap=tap
    )
    if stand_ins and stand_ins.head:
        return stand_ins.head(hidden_BTD)
    hidden_ND, head_VD = hidden_BTD.reshape(-1, config.width), head_matrix(parameters).astype(dtype)
    if "logits" not in changed_places(config):
        losses_N: mx.array = implementations.cross_entropy(hidden_ND, head_VD, target_BT.reshape(-1))
        return losses_N.reshape(target_BT.shape)
    logits_BTV = (hidden_ND @ head_VD.T).reshape(*target_BT.shape, -1).astype(mx.float32)
    logits_BTV = changed("logits", logits_BTV, _place(parameters, config, token_BT, None, dtype))
    return losses_of_logits(logits_BTV.reshape(-1, config.vocabulary_size), target_BT.reshape(-1)).reshape(
        target_BT.shape
    )


def token_predictions(
    parameters: Parameters,
    config: ModelConfig,
    token_BT: mx.array,
    target_BT: mx.array,
    implementations: Implementations,
    *,
    dtype: mx.Dtype = mx.float32,
) -> mx.array:
    """What mixing with counting asks of a model, float32 [3, B, T], in nats; see `hidden_states` for the arguments.

    Negative log-likelihood of each target, entropy of its distribution, and log-probability of the likeliest token.
    """
    scores_BTV, _ = logits(parameters, config, token_BT, implementations, dtype=dtype)
    scores_BTV = scores_BTV - mx.max(scores_BTV, axis=-1, keepdims=True)
    shares_BTV = mx.exp(scores_BTV)
    total_BT = mx.sum(shares_BTV, axis=-1)
    log_total_BT = mx.log(total_BT)
    nats_BT = log_total_BT - mx.take_along_axis(scores_BTV, target_BT[..., None], axis=-1)[..., 0]
    entropy_BT = log_total_BT - mx.sum(shares_BTV * scores_BTV, axis=-1) / total_BT
    return mx.stack([nats_BT, entropy_BT, -log_total_BT])


def as_computed(implementations: Implementations, config: ModelConfig, asked: str) -> Implementations:
    """The choices as the forward pass follows them: logits that an option changes have to be at hand.

    Args:
        asked: as `ops.implementations.parse` takes it.

    Raises:
        TinyError: an implementation of the cross-entropy is asked for by name that keeps its logits to itself.
    """
    if "logits" not in changed_places(config):
        return implementations
    if "=" in asked and (name := parse(asked)["cross_entropy"]) not in (AUTO, PLAIN):
        raise TinyError(
            f"The implementation {name!r} of the cross-entropy cannot be used with options that change the logits",
            expected="plain",
            got=config.options,
            remedy="Leave out the one or the other",
        )
    reason = "an option of the model changes the logits, and the other implementations never have all of them"
    return replace(implementations, cross_entropy=Choice(CROSS_ENTROPY, PLAIN, reason))


def logits(
    parameters: Parameters,
    config: ModelConfig,
    token_BT: mx.array,
    implementations: Implementations,
    cache: Cache | None = None,
    filled: mx.array | None = None,
    layers: Sequence[Parameters] | None = None,
    before_B1: mx.array | None = None,
    dtype: mx.Dtype = mx.float32,
) -> tuple[mx.array, Cache]:
    """Float32 logits [B, T, V] of the next token at each position, and the cache including this window.

    See `hidden_states` for the arguments.
    """
    hidden_BTD, grown = hidden_states(
        parameters,
        config,
        token_BT,
        implementations,
        dtype=dtype,
        cache=cache,
        filled=filled,
        layers=layers,
        before_B1=before_B1,
    )
    scores_BTV = (hidden_BTD @ head_matrix(parameters).astype(dtype).T).astype(mx.float32)
    return changed("logits", scores_BTV, _place(parameters, config, token_BT, before_B1, dtype)), grown


def _place(
    parameters: Parameters, config: ModelConfig, token_BT: mx.array, before_B1: mx.array | None, dtype: mx.Dtype
) -> Place:
    """What options can read, of the whole model."""
    whole = [name for name, spec in parameter_specs(config).items() if not spec.layers]
    if before_B1 is None:
        before_B1 = mx.full((token_BT.shape[0], 1), config.vocabulary_size, token_BT.dtype)
    previous_BT = mx.concatenate([before_B1, token_BT[:, :-1]], axis=1)
    return Place({name: parameters[name].astype(dtype) for name in whole}, token_BT, previous_BT, config)


def embed(parameters: Parameters, token_BT: mx.array, dtype: mx.Dtype) -> mx.array:
    """The rows of the embedding for these tokens, [B, T, D]."""
    return parameters["embedding"][token_BT].astype(dtype)


def normalized(x_BTD: mx.array, config: ModelConfig, implementations: Implementations) -> mx.array:
    """RMSNorm without a weight, [B, T, D]."""
    normed_BTD: mx.array = implementations.norm(x_BTD, epsilon=config.norm_epsilon)
    return normed_BTD


def attention(
    layer: Parameters,
    config: ModelConfig,
    x_BTD: mx.array,
    window: Window,
    index: int,
    implementations: Implementations,
    taps: Tap,
) -> tuple[mx.array, tuple[mx.array, mx.array]]:
    """Attention of a layer, [B, T, D], and its keys and values including those of the cache."""
    B, T, _ = x_BTD.shape
    H, G, K = config.heads, config.key_value_heads, config.head_width
    query_BTHK, key_BTGK, value_BTGK = implementations.qk_norm_rope(
        (x_BTD @ layer["query_key_value"].T).reshape(B, T, H + 2 * G, K),
        layer["query_norm_weight"],
        layer["key_norm_weight"],
        window.cosine,
        window.sine,
        key_value_heads=G,
        epsilon=config.norm_epsilon,
    )
    query_BTHK, key_BTGK = taps("attention.query", query_BTHK), taps("attention.key", key_BTGK)
    value_BTGK = taps("attention.value", value_BTGK)
    key_BSGK, value_BSGK, room = _with_past(key_BTGK, value_BTGK, window, index)
    mixed_BTHK = implementations.attention(query_BTHK, key_BSGK, value_BSGK, scale=1 / math.sqrt(K), **room)
    mixed_BTHK = taps("attention.mixed", mixed_BTHK)
    output_BTD = taps("attention.output", mixed_BTHK.reshape(B, T, H * K) @ layer["attention_output"].T)
    return output_BTD, (key_BSGK, value_BSGK)


def _with_past(
    key_BTGK: mx.array, value_BTGK: mx.array, window: Window, index: int
) -> tuple[mx.array, mx.array, dict[str, mx.array]]:
    """Keys and values after those of the cache; and the number of used positions if not all are used."""
    if not window.cache:
        return key_BTGK, value_BTGK, {}
    pairs = zip(window.cache[index], (key_BTGK, value_BTGK), strict=True)
    if window.filled is None:
        key_BSGK, value_BSGK = (mx.concatenate([old, new], axis=1) for old, new in pairs)
        return key_BSGK, value_BSGK, {}
    place = window.filled.reshape(1)
    key_BSGK, value_BSGK = (mx.slice_update(old, new, place, axes=[1]) for old, new in pairs)
    return key_BSGK, value_BSGK, {"filled": window.filled + key_BTGK.shape[1]}


def mlp(
    layer: Parameters, config: ModelConfig, x_BTD: mx.array, implementations: Implementations, taps: Tap
) -> mx.array:
    """MLP of a layer, [B, T, D]."""
    hidden: mx.array = implementations.activation(x_BTD @ layer["mlp_input"].T, activation=config.activation)
    return taps("mlp.output", taps("mlp.hidden", hidden) @ layer["mlp_output"].T)
