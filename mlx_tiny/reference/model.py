"""The transformer, layer by layer and operation by operation.

    tokens -> embedding -> norm -> L layers -> norm -> head -> logits of the next token
    a layer:  x <- scale[0] x + attention(norm(x))
              x <- scale[1] x + mlp(norm(x))

Parameters have the names and shapes of checkpoints: the matrices of one role in all layers form one array whose first
axis is the layer, and a matrix W [rows, columns] maps a vector x [columns] to W x. Dimensions, as suffixes of array
names: B batch, T queries, S keys, H query heads, G key/value heads, D width, K head width, F hidden, V vocabulary,
L layers.

Everything is computed in the dtype of the parameters (float64 or float32), or in bfloat16 with norms, softmax and loss
in float32. Gradients come from autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mlx_tiny.config import ModelConfig
from mlx_tiny.reference.options import Parameter, Place, Results, chosen

Parameters = dict[str, Tensor]
Rotation = tuple[Tensor, Tensor]
Tap = Callable[[str, Tensor], Tensor]
"""Takes name and value of an intermediate result, and returns the value to use instead."""

ATTENTION = ("plain", "fused")


def parameters_of(config: ModelConfig) -> dict[str, Parameter]:
    """Every parameter, in the order of the checkpoints: those of the model itself, then those of its options.

    `query_key_value` consists of the query, key and value matrices of a layer below each other, and the `mlp_input` of
    SwiGLU of its gate and up matrices. The std is 1 for the embedding (1 / sqrt(D) if it is the head as well) and
    1 / sqrt(D) for inner matrices. Norm weights and scales start at one, output projections and an untied head at zero.
    """
    D, F, K = config.width, config.hidden, config.head_width
    query_rows, key_rows = config.heads * K, config.key_value_heads * K
    everywhere, inner = tuple(range(config.layers)), 1 / math.sqrt(D)

    def bank(blocks: tuple[int, ...], columns: int, std: float = 0.0) -> Parameter:
        shape = (config.layers, sum(blocks), columns)
        return Parameter(shape, "matrix_adamw_rate", std, decays=True, layers=everywhere, blocks=blocks)

    def scalars(count: int) -> Parameter:
        return Parameter((config.layers, count), "scalar_rate", start=1.0, layers=everywhere)

    table = (config.vocabulary_size, D)
    parameters = {
        "embedding": Parameter(table, "embedding_rate", inner if config.tied else 1.0, decays=True),
        "query_key_value": bank((query_rows, key_rows, key_rows), D, inner),
        "attention_output": bank((D,), query_rows),
        "mlp_input": bank((F, F) if config.activation == "swiglu" else (F,), D, inner),
        "mlp_output": bank((D,), F),
        "query_norm_weight": scalars(K),
        "key_norm_weight": scalars(K),
        "residual_scale": scalars(2),
    }
    if not config.tied:
        parameters["head"] = Parameter(table, "head_rate", decays=True)
    for option, value in chosen(config):
        parameters |= option.parameters(config, value)
    return parameters


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, in the order of the checkpoints."""
    return {name: parameter.shape for name, parameter in parameters_of(config).items()}


def initialize(
    config: ModelConfig, seed: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Parameters:
    """New parameters.

    PyTorch draws the numbers on the CPU in float32, so that they are the same on every device; MLX draws others.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = {}
    for name, parameter in parameters_of(config).items():
        if parameter.std:
            values = parameter.std * torch.randn(parameter.shape, generator=generator)
        else:
            values = torch.full(parameter.shape, parameter.start)
        parameters[name] = values.to(device, dtype)
    return parameters


def logits(
    parameters: Parameters,
    config: ModelConfig,
    token_BT: Tensor,
    *,
    dtype: torch.dtype | None = None,
    attention: str = "plain",
    record: dict[str, Tensor] | None = None,
) -> Tensor:
    """Logits of the next token at every position.

    Args:
        parameters: with the shapes of `parameter_shapes`, all of one dtype and on one device.
        token_BT: integers [B, T].
        dtype: of activations and products; that of the parameters by default.
        attention: `plain` (below) or `fused` (PyTorch's own).
        record: a dictionary that gets every intermediate result, in the order of computation, as "embedded",
            "layer.0.attention.query" and so on; they are part of the graph, so that they have gradients.

    Returns:
        [B, T, V], at least float32.
    """
    dtype = dtype or parameters["embedding"].dtype
    weights = {name: array.to(dtype) for name, array in parameters.items()}
    whole = {name: weights[name] for name, parameter in parameters_of(config).items() if not parameter.layers}
    results = Results(config, Place(whole, token_BT, config.norm_epsilon), record)
    # Exact angles, rounded once; MPS has no float64.
    cosine, sine = (table.to(dtype).to(token_BT.device) for table in rotation_tables(config, token_BT.shape[1]))
    x_BTD = embedded_BTD = results("embedded", normalize(weights["embedding"][token_BT], config.norm_epsilon))
    for index, layer in enumerate(layers_of(weights, config)):
        own = results.of_layer(index, layer, embedded_BTD)
        x_BTD = apply_layer(layer, config, x_BTD, (cosine, sine), attention, own)
    x_BTD = results("normalized", normalize(x_BTD, config.norm_epsilon))
    head_VD = weights["embedding"] if config.tied else weights["head"]
    return results("logits", _widened(x_BTD @ head_VD.T))


def layers_of(weights: Parameters, config: ModelConfig) -> list[Parameters]:
    """The parameters of each layer."""
    layers: list[Parameters] = [{} for _ in range(config.layers)]
    for name, parameter in parameters_of(config).items():
        if parameter.layers:
            for index, part in zip(parameter.layers, weights[name].unbind(), strict=True):
                layers[index][name] = part
    return layers


def token_losses(
    parameters: Parameters,
    config: ModelConfig,
    token_BT: Tensor,
    target_BT: Tensor,
    *,
    dtype: torch.dtype | None = None,
    attention: str = "plain",
    record: dict[str, Tensor] | None = None,
) -> Tensor:
    """Negative log-likelihood of each target, [B, T], in nats; see `logits` for the arguments."""
    scores_BTV = logits(parameters, config, token_BT, dtype=dtype, attention=attention, record=record)
    return cross_entropy(scores_BTV, target_BT)


def apply_layer(
    layer: Parameters, config: ModelConfig, x_BTD: Tensor, rotation: Rotation, attention: str, results: Tap
) -> Tensor:
    """One transformer layer; `layer` are its parameters."""
    mixed_BTD = attend(layer, config, normalize(x_BTD, config.norm_epsilon), rotation, attention, results)
    x_BTD = results("after_attention", layer["residual_scale"][0] * x_BTD + mixed_BTD)
    changed_BTD = transform(layer, config, normalize(x_BTD, config.norm_epsilon), results)
    return results("after_mlp", layer["residual_scale"][1] * x_BTD + changed_BTD)


def attend(
    layer: Parameters, config: ModelConfig, x_BTD: Tensor, rotation: Rotation, attention: str, results: Tap
) -> Tensor:
    """Causal attention of H query heads, of which each H/G neighbours share a key/value head; [B, T, D]."""
    B, T, _ = x_BTD.shape
    H, G, K = config.heads, config.key_value_heads, config.head_width
    query_rows, key_rows, value_rows = torch.split(layer["query_key_value"], [H * K, G * K, G * K])
    query_BTHK = (x_BTD @ query_rows.T).reshape(B, T, H, K)
    key_BSGK = (x_BTD @ key_rows.T).reshape(B, T, G, K)
    value_BSGK = (x_BTD @ value_rows.T).reshape(B, T, G, K)

    query_BTHK = rotate(normalize(query_BTHK, config.norm_epsilon) * layer["query_norm_weight"], rotation)
    key_BSGK = rotate(normalize(key_BSGK, config.norm_epsilon) * layer["key_norm_weight"], rotation)
    query_BTHK, key_BSGK = results("attention.query", query_BTHK), results("attention.key", key_BSGK)
    value_BSGK = results("attention.value", value_BSGK)
    key_BSHK, value_BSHK = (array.repeat_interleave(H // G, dim=2) for array in (key_BSGK, value_BSGK))
    mix = {"plain": plain_attention, "fused": fused_attention}[attention]
    mixed_BTHK = results("attention.mixed", mix(query_BTHK, key_BSHK, value_BSHK))
    return results("attention.output", mixed_BTHK.reshape(B, T, H * K) @ layer["attention_output"].T)


def plain_attention(query_BTHK: Tensor, key_BSHK: Tensor, value_BSHK: Tensor) -> Tensor:
    """Softmax attention, spelled out: each position mixes the values of the positions up to its own, [B, T, H, K]."""
    T, K = query_BTHK.shape[1], query_BTHK.shape[3]
    scores_BHTS = torch.einsum("bthk,bshk->bhts", _widened(query_BTHK), _widened(key_BSHK)) / math.sqrt(K)
    seen_TS = torch.ones(T, T, dtype=torch.bool, device=query_BTHK.device).tril()
    scores_BHTS = scores_BHTS.masked_fill(~seen_TS, -math.inf)
    # Subtracting the largest score does not change a softmax, and no exponential overflows.
    exponential_BHTS = torch.exp(scores_BHTS - scores_BHTS.amax(dim=-1, keepdim=True).detach())
    weight_BHTS = exponential_BHTS / exponential_BHTS.sum(dim=-1, keepdim=True)
    return torch.einsum("bhts,bshk->bthk", weight_BHTS.to(value_BSHK.dtype), value_BSHK)


def fused_attention(query_BTHK: Tensor, key_BSHK: Tensor, value_BSHK: Tensor) -> Tensor:
    """The same by PyTorch's own fused kernel."""
    query, key, value = (array.transpose(1, 2) for array in (query_BTHK, key_BSHK, value_BSHK))
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)


def transform(layer: Parameters, config: ModelConfig, x_BTD: Tensor, results: Tap = lambda _, array: array) -> Tensor:
    """The MLP of a layer, [B, T, D]: squared ReLU, or SwiGLU (Shazeer 2020, arXiv 2002.05202)."""
    hidden_BTF = results("mlp.hidden", activate(x_BTD @ layer["mlp_input"].T, config.activation))
    return results("mlp.output", hidden_BTF @ layer["mlp_output"].T)


def activate(x: Tensor, activation: str) -> Tensor:
    """[..., F]: squared ReLU of [..., F], or SwiGLU of [..., 2F], whose first half gates the second."""
    if activation == "swiglu":
        gate, up = x.chunk(2, dim=-1)
        return gate * torch.sigmoid(gate) * up
    return torch.relu(x) ** 2


def normalize(x: Tensor, epsilon: float) -> Tensor:
    """RMSNorm without a weight (arXiv 1910.07467): x / sqrt(mean(x^2) + epsilon) of each row."""
    wide = _widened(x)
    return (wide / torch.sqrt((wide * wide).mean(dim=-1, keepdim=True) + epsilon)).to(x.dtype)


def rotate(x_BTHK: Tensor, rotation: Rotation) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864): the pair (i, i + K/2) at t is rotated by t base^(-2i/K)."""
    cosine, sine = rotation
    first, second = x_BTHK.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)


def rotation_tables(config: ModelConfig, positions: int) -> Rotation:
    """Cosines and sines of the angles of positions 0 to T-1, [T, 1, K/2] each, in float64 on the CPU."""
    frequencies = config.rope_base ** (-torch.arange(0, config.head_width, 2, dtype=torch.float64) / config.head_width)
    angles = torch.arange(positions, dtype=torch.float64)[:, None, None] * frequencies
    return angles.cos(), angles.sin()


def cross_entropy(scores: Tensor, target: Tensor) -> Tensor:
    """-log softmax(scores)[target] over the last axis, in nats.

    Args:
        scores: [..., V].
        target: integers [...].
    """
    shifted = scores - scores.amax(dim=-1, keepdim=True).detach()
    log_probabilities = shifted - shifted.exp().sum(dim=-1, keepdim=True).log()
    return -log_probabilities.gather(-1, target[..., None])[..., 0]


def _widened(x: Tensor) -> Tensor:
    """`x` in float32 if it is bfloat16; float32 and float64 are not changed."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
