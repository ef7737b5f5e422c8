"""The transformer, layer by layer and operation by operation.

    tokens -> embedding -> norm -> L layers -> norm -> head -> scores of the next token
    a layer:  x <- scale[0] x + attention(norm(x))
              x <- scale[1] x + mlp(norm(x))

Parameters keep the names and shapes that checkpoints give them: matrices of one role in all layers lie in one array
with a leading layer axis, and a matrix W [rows, columns] maps a vector x [columns] to W x. Dimensions, as suffixes of
array names: B batch, T queries, S keys, H query heads, G key/value heads, D width, K head width, F hidden,
V vocabulary, L layers.

Everything is computed in the type of the parameters (float64 or float32), or in bfloat16 where that is asked, with
norms, softmax and loss in float32 then. Gradients are left to autograd.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mlx_tiny.config import ModelConfig

Parameters = dict[str, Tensor]
Rotation = tuple[Tensor, Tensor]

ATTENTION = ("plain", "fused")
_UNLAYERED = ("embedding", "head")


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter, in the order of the checkpoints.

    `query_key_value` holds the query, key and value matrices of a layer below each other, and the `mlp_input` of SwiGLU
    its gate and its up matrix.
    """
    L, D, V, F, K = config.layers, config.width, config.vocabulary_size, config.hidden, config.head_width
    shapes = {
        "embedding": (V, D),
        "query_key_value": (L, (config.heads + 2 * config.key_value_heads) * K, D),
        "attention_output": (L, D, config.heads * K),
        "mlp_input": (L, 2 * F if config.activation == "swiglu" else F, D),
        "mlp_output": (L, D, F),
        "query_norm_weight": (L, K),
        "key_norm_weight": (L, K),
        "residual_scale": (L, 2),
    }
    return shapes if config.tied else {**shapes, "head": (V, D)}


def initialize(
    config: ModelConfig, seed: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Parameters:
    """Fresh parameters: norm weights one, output projections and an untied head zero, the others normal.

    The embedding has deviation 1 (1 / sqrt(D) where it is the head as well), inner matrices 1 / sqrt(D). The numbers
    are torch's, drawn on the CPU in float32, so that they are the same on every device; MLX draws others.
    """
    generator = torch.Generator().manual_seed(seed)
    parameters = {}
    for name, shape in parameter_shapes(config).items():
        if name in ("query_norm_weight", "key_norm_weight", "residual_scale"):
            values = torch.ones(shape)
        elif name in ("attention_output", "mlp_output", "head"):
            values = torch.zeros(shape)
        else:
            deviation = 1.0 if name == "embedding" and not config.tied else 1 / math.sqrt(config.width)
            values = deviation * torch.randn(shape, generator=generator)
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
    """Scores of the next token at every position.

    Args:
        parameters: as `parameter_shapes` describes them, all of one type and on one device.
        token_BT: integers [B, T].
        dtype: of activations and products; that of the parameters where it is not given.
        attention: `plain`, spelled out below, or `fused`, torch's own.
        record: where to put every intermediate result, in the order of computation, as "embedded",
            "layer.0.attention.query" and so on; they stay part of the graph, so that gradients reach them too.

    Returns:
        [B, T, V], at least float32.
    """
    dtype = dtype or parameters["embedding"].dtype
    weights = {name: array.to(dtype) for name, array in parameters.items()}
    banks = {name: bank.unbind() for name, bank in weights.items() if name not in _UNLAYERED}
    # Exact angles, rounded once; MPS has no float64.
    cosine, sine = (table.to(dtype).to(token_BT.device) for table in rotation_tables(config, token_BT.shape[1]))
    x_BTD = normalize(weights["embedding"][token_BT], config.norm_epsilon)
    results = {"embedded": x_BTD}
    for index in range(config.layers):
        layer = {name: bank[index] for name, bank in banks.items()}
        own: dict[str, Tensor] = {}
        x_BTD = apply_layer(layer, config, x_BTD, (cosine, sine), attention, own)
        if record is not None:
            results.update({f"layer.{index}.{name}": array for name, array in own.items()})
    x_BTD = normalize(x_BTD, config.norm_epsilon)

    head_VD = weights["embedding"] if config.tied else weights["head"]
    scores_BTV = _widened(x_BTD @ head_VD.T)
    if record is not None:
        record.update(results, normalized=x_BTD, logits=scores_BTV)
    return scores_BTV


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
    layer: Parameters, config: ModelConfig, x_BTD: Tensor, rotation: Rotation, attention: str, record: dict[str, Tensor]
) -> Tensor:
    """One transformer block; `layer` holds its slice of every bank."""
    mixed_BTD = attend(layer, config, normalize(x_BTD, config.norm_epsilon), rotation, attention, record)
    x_BTD = layer["residual_scale"][0] * x_BTD + mixed_BTD
    record["after_attention"] = x_BTD
    changed_BTD = transform(layer, config, normalize(x_BTD, config.norm_epsilon), record)
    x_BTD = layer["residual_scale"][1] * x_BTD + changed_BTD
    record["after_mlp"] = x_BTD
    return x_BTD


def attend(
    layer: Parameters, config: ModelConfig, x_BTD: Tensor, rotation: Rotation, attention: str, record: dict[str, Tensor]
) -> Tensor:
    """Causal attention of H query heads, of which each H/G neighbours share one key/value head; [B, T, D]."""
    B, T, _ = x_BTD.shape
    H, G, K = config.heads, config.key_value_heads, config.head_width
    query_rows, key_rows, value_rows = torch.split(layer["query_key_value"], [H * K, G * K, G * K])
    query_BTHK = (x_BTD @ query_rows.T).reshape(B, T, H, K)
    key_BSGK = (x_BTD @ key_rows.T).reshape(B, T, G, K)
    value_BSGK = (x_BTD @ value_rows.T).reshape(B, T, G, K)

    query_BTHK = rotate(normalize(query_BTHK, config.norm_epsilon) * layer["query_norm_weight"], rotation)
    key_BSGK = rotate(normalize(key_BSGK, config.norm_epsilon) * layer["key_norm_weight"], rotation)
    key_BSHK, value_BSHK = (array.repeat_interleave(H // G, dim=2) for array in (key_BSGK, value_BSGK))
    mix = {"plain": plain_attention, "fused": fused_attention}[attention]
    mixed_BTHK = mix(query_BTHK, key_BSHK, value_BSHK)

    output_BTD = mixed_BTHK.reshape(B, T, H * K) @ layer["attention_output"].T
    record["attention.query"], record["attention.key"], record["attention.value"] = query_BTHK, key_BSGK, value_BSGK
    record["attention.mixed"], record["attention.output"] = mixed_BTHK, output_BTD
    return output_BTD


def plain_attention(query_BTHK: Tensor, key_BSHK: Tensor, value_BSHK: Tensor) -> Tensor:
    """Softmax attention, spelled out: each position mixes the values of the positions up to its own, [B, T, H, K]."""
    T, K = query_BTHK.shape[1], query_BTHK.shape[3]
    scores_BHTS = torch.einsum("bthk,bshk->bhts", _widened(query_BTHK), _widened(key_BSHK)) / math.sqrt(K)
    seen_TS = torch.ones(T, T, dtype=torch.bool, device=query_BTHK.device).tril()
    scores_BHTS = scores_BHTS.masked_fill(~seen_TS, -math.inf)
    # A softmax does not change when all scores do alike; less their largest, none overflows.
    exponential_BHTS = torch.exp(scores_BHTS - scores_BHTS.amax(dim=-1, keepdim=True).detach())
    weight_BHTS = exponential_BHTS / exponential_BHTS.sum(dim=-1, keepdim=True)
    return torch.einsum("bhts,bshk->bthk", weight_BHTS.to(value_BSHK.dtype), value_BSHK)


def fused_attention(query_BTHK: Tensor, key_BSHK: Tensor, value_BSHK: Tensor) -> Tensor:
    """The same by torch's own kernel, which is fast and hides every step."""
    query, key, value = (array.transpose(1, 2) for array in (query_BTHK, key_BSHK, value_BSHK))
    return torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True).transpose(1, 2)


def transform(layer: Parameters, config: ModelConfig, x_BTD: Tensor, record: dict[str, Tensor]) -> Tensor:
    """The MLP of a layer, [B, T, D]: squared ReLU, or SwiGLU (Shazeer 2020, arXiv 2002.05202)."""
    hidden_BTF = activate(x_BTD @ layer["mlp_input"].T, config.activation)
    output_BTD = hidden_BTF @ layer["mlp_output"].T
    record["mlp.hidden"], record["mlp.output"] = hidden_BTF, output_BTD
    return output_BTD


def activate(x: Tensor, activation: str) -> Tensor:
    """[..., F]: squared ReLU of [..., F], or SwiGLU of [..., 2F], whose first half gates the second."""
    if activation == "swiglu":
        gate, up = x.chunk(2, dim=-1)
        return gate * torch.sigmoid(gate) * up
    return torch.relu(x) ** 2


def normalize(x: Tensor, epsilon: float) -> Tensor:
    """RMSNorm without a weight (arXiv 1910.07467): x / sqrt(mean(x^2) + epsilon) over a row."""
    wide = _widened(x)
    return (wide / torch.sqrt((wide * wide).mean(dim=-1, keepdim=True) + epsilon)).to(x.dtype)


def rotate(x_BTHK: Tensor, rotation: Rotation) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864): pair (i, i + K/2) at t turns by t base^(-2i/K) radians."""
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
    """`x` in float32 where it is bfloat16; float32 and float64 stay as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
