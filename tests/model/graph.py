"""Counts the multiplications in a graph of MLX."""

from __future__ import annotations

import math
from collections.abc import Callable

import mlx.core as mx

from mlx_tiny.config import ModelConfig
from mlx_tiny.model.parameters import Parameters


def multiply_adds_of(function: Callable[[Parameters], list[mx.array]], parameters: Parameters) -> int:
    """Multiply-adds of all matrix products in the graph of a function of parameters."""
    total = 0

    def visit(node: dict) -> None:
        nonlocal total
        if node["type"] == "primitive" and node["name"].endswith(("MM", "Matmul")):
            assert node["name"] == "Matmul", "teach this function to count it"
            total += math.prod(node["outputs"][0][1]) * node["inputs"][0][1][-1]

    def flat(*arrays: mx.array) -> list[mx.array]:
        return function(dict(zip(parameters, arrays, strict=True)))

    mx.export_function(visit, flat, *parameters.values())
    return total


def beyond_the_diagonal(config: ModelConfig, rows: int) -> int:
    """Multiply-adds of dense scores and their product with the values, beyond the causal half."""
    T = config.context
    return rows * config.layers * 2 * config.heads * config.head_width * T * (T - 1) // 2
