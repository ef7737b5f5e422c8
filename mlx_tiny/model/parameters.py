"""The parameters: descriptions, initialisation, and counts.

Matrices of the same role in all layers form one array whose first axis is the layer, so that the optimizer works on few
large arrays instead of many small ones.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.options import options_of
from mlx_tiny.model.spec import ParameterSpec

Parameters = dict[str, mx.array]


def parameter_specs(config: ModelConfig) -> dict[str, ParameterSpec]:
    """Every parameter, in a fixed order: those of the model itself, then those of its options."""
    specs = _own_specs(config)
    for option in options_of(config):
        specs |= option.parameters(config)
    return specs


def _own_specs(config: ModelConfig) -> dict[str, ParameterSpec]:
    c = config
    everywhere = tuple(range(c.layers))
    query_rows, key_rows = c.heads * c.head_width, c.key_value_heads * c.head_width
    input_blocks = (c.hidden, c.hidden) if c.activation == "swiglu" else (c.hidden,)
    # The inputs of attention and MLP have a root mean square of 1; with this std their products have it too.
    inner = 1 / math.sqrt(c.width)

    def matrix(rows: tuple[int, ...], columns: int, std: float) -> ParameterSpec:
        return ParameterSpec(
            (c.layers, sum(rows), columns),
            std=std,
            group="hidden matrices",
            rate="matrix_adamw_rate",
            decays=True,
            layers=everywhere,
            blocks=rows,
        )

    def scalars(count: int) -> ParameterSpec:
        return ParameterSpec(
            (c.layers, count), start=1.0, group="norm weights and scales", rate="scalar_rate", layers=everywhere
        )

    table = (c.vocabulary_size, c.width)
    specs = {
        "embedding": ParameterSpec(
            table, std=inner if c.tied else 1.0, group="embedding", rate="embedding_rate", decays=True
        ),
        "query_key_value": matrix((query_rows, key_rows, key_rows), c.width, inner),
        "attention_output": matrix((c.width,), query_rows, 0.0),
        "mlp_input": matrix(input_blocks, c.width, inner),
        "mlp_output": matrix((c.width,), c.hidden, 0.0),
        "query_norm_weight": scalars(c.head_width),
        "key_norm_weight": scalars(c.head_width),
        "residual_scale": scalars(2),
    }
    if not c.tied:
        specs["head"] = ParameterSpec(table, group="head", rate="head_rate", decays=True)
    return specs


def initialize(config: ModelConfig, seed: int) -> Parameters:
    """New float32 parameters. Those of the model itself do not depend on its options."""
    own, key = _own_specs(config), mx.random.key(seed)
    keys = dict(zip(own, mx.random.split(key, len(own)), strict=True))
    parameters = {}
    for name, spec in parameter_specs(config).items():
        if spec.std:
            drawn = keys[name] if name in keys else mx.random.key(zlib.crc32(f"{seed} {name}".encode()))
            parameters[name] = spec.std * mx.random.normal(spec.shape, key=drawn)
        else:
            parameters[name] = mx.full(spec.shape, spec.start)
    return parameters


def layers_of(parameters: Parameters, config: ModelConfig) -> Sequence[Parameters]:
    """The parameters of each layer. `split` is used because its gradient is a concatenation, not L padded sums."""
    layers: list[Parameters] = [{} for _ in range(config.layers)]
    for name, spec in parameter_specs(config).items():
        if spec.layers:
            for index, part in zip(spec.layers, mx.split(parameters[name], len(spec.layers)), strict=True):
                layers[index][name] = part.squeeze(0)
    return layers


def head_matrix(parameters: Parameters) -> mx.array:
    """The head [V, D]: a matrix of its own, or the embedding if the two are tied."""
    return parameters.get("head", parameters["embedding"])


def parameter_count(config: ModelConfig) -> int:
    """Number of parameters."""
    return sum(spec.size for spec in parameter_specs(config).values())


def parameters_by_group(config: ModelConfig) -> dict[str, int]:
    """Number of parameters per group."""
    counts: dict[str, int] = {}
    for spec in parameter_specs(config).values():
        counts[spec.group] = counts.get(spec.group, 0) + spec.size
    return counts


def matrix_parameters(config: ModelConfig) -> int:
    """Number of parameters in matrices that every token is multiplied by: those of the layers, and the head."""
    matrices = sum(spec.size for spec in parameter_specs(config).values() if spec.blocks)
    return matrices + config.vocabulary_size * config.width


def multiply_adds_per_token(config: ModelConfig, context: int | None = None) -> float:
    """Multiply-adds of the forward pass per token: the matrices, the head, and the two products of causal attention.

    A query at position t has t + 1 keys, so attention needs 2 H K (context + 1) / 2 per token and layer.
    """
    keys = ((context or config.context) + 1) / 2
    attention = config.layers * 2 * config.heads * config.head_width * keys
    return matrix_parameters(config) + attention + sum(option.multiply_adds(config) for option in options_of(config))


def training_flops_per_token(config: ModelConfig) -> float:
    """Model FLOPs per training token: two per multiply-add forward and four backward; recomputation does not count."""
    return 6 * multiply_adds_per_token(config)
