"""Causal attention for the CPU: it skips the masked half, and has a fast exponential and a gradient of its own.

Queries are divided into blocks. The scores of a block are a square (with the keys of the same positions; its upper half
is masked) and a strip (with all keys before). The squares of all blocks form one array; each strip is an array. The
forward pass keeps E = exp(S - max) of both. With l the row sums of E, and delta = rowsum(dO O), the gradient of the
scores is dS = E (dO V^T - delta) / l. That is E times a single product, if -delta / l is appended to dO / l as a column
and a column of ones to V.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx
import numpy as np

from mlx_tiny.linux.rows import materialized, row_maximum, row_sum, shifted_exponential

# Rows of the largest block: smaller blocks compute less that is masked, larger blocks make faster products.
BLOCK = 64


def block_count(T: int) -> int:
    """Number of blocks for T queries; all are equally long, and the last one is padded."""
    return -(-T // BLOCK)


def attend_on_cpu(query_BTHK: mx.array, key_BTGK: mx.array, value_BTGK: mx.array, *, scale: float) -> mx.array:
    """The operation `attention` for whole sequences of float32."""
    B, T, H, K = query_BTHK.shape
    G = key_BTGK.shape[2]
    blocks = block_count(T)
    rows = -(-T // blocks)
    padding = [(0, 0), (0, blocks * rows - T), (0, 0), (0, 0)]
    # The padding comes last, where no real query attends to it.
    query, key, value = (
        mx.pad(array, padding) if blocks * rows > T else array for array in (scale * query_BTHK, key_BTGK, value_BTGK)
    )
    # [B, T, H, K] -> [B, G, blocks, H/G rows, K]: in each block, the H/G query heads of a key head below each other.
    query = query.reshape(B, blocks, rows, G, H // G, K).transpose(0, 3, 1, 4, 2, 5)
    query = mx.contiguous(query).reshape(B, G, blocks, -1, K)
    key, value = (mx.contiguous(array.swapaxes(1, 2))[:, :, None] for array in (key, value))
    mixed, *_ = _blocked_attention()(query, key, value)
    mixed = mixed.reshape(B, G, blocks, H // G, rows, K).transpose(0, 2, 4, 1, 3, 5)
    mixed_BTHK: mx.array = mixed.reshape(B, blocks * rows, H, K)[:, :T]
    return mixed_BTHK


@functools.cache
def _blocked_attention() -> Callable[..., Any]:
    """The forward pass with its gradient; all outputs but the first are kept for the gradient only.

    Inputs: scaled queries [B, G, n, M, K] in n blocks, keys and values [B, G, 1, T, K].
    """
    attend = mx.custom_function(_forward)
    attend.vjp(_gradient)
    return attend


def _forward(query: mx.array, key: mx.array, value: mx.array) -> list[mx.array]:
    n, M, K = query.shape[2:]
    b = key.shape[3] // n
    square_scores = query @ _in_blocks(key, n).swapaxes(-1, -2) + _square_mask(M, b)
    square_largest = row_maximum(square_scores)
    strip_scores = [_block(query, i) @ _first(key, i * b).swapaxes(-1, -2) for i in range(1, n)]
    largest = [_block(square_largest, 0)]
    for i, scores in enumerate(strip_scores, 1):
        largest.append(mx.maximum(row_maximum(scores), _block(square_largest, i)))
    squares = shifted_exponential(square_scores, mx.concatenate(largest, axis=2))
    strips = [shifted_exponential(scores, top) for scores, top in zip(strip_scores, largest[1:], strict=True)]
    extended = mx.concatenate([value, mx.ones((*value.shape[:-1], 1))], axis=-1)
    mixed = _along_rows(squares, strips, extended)
    inverse = materialized(1 / mixed[..., K:])
    return [mixed[..., :K] * inverse, inverse, extended, squares, *strips]


def _gradient(
    primals: list[mx.array], cotangents: list[mx.array], outputs: list[mx.array]
) -> tuple[mx.array, mx.array, mx.array]:
    query, key, _ = primals
    output, inverse, extended, squares, *strips = outputs
    n, b = query.shape[2], key.shape[3] // query.shape[2]
    weighted = materialized(cotangents[0] * inverse)
    # The column of ones that the forward pass appended to V is multiplied by -delta / l.
    columns = mx.concatenate([weighted, -row_sum(weighted * output)], axis=-1)
    square_gradients = squares * (columns @ _in_blocks(extended, n).swapaxes(-1, -2))
    strip_gradients = [
        strip * (_block(columns, i) @ _first(extended, i * b).swapaxes(-1, -2)) for i, strip in enumerate(strips, 1)
    ]
    return (
        _along_rows(square_gradients, strip_gradients, key),
        _along_columns(square_gradients, strip_gradients, query),
        _along_columns(squares, strips, weighted),
    )


def _along_rows(squares: mx.array, strips: Sequence[mx.array], right: mx.array) -> mx.array:
    """The product with [B, G, 1, T, X] from the right: [B, G, n, M, X]."""
    B, G, n, M, b = squares.shape
    parts = [mx.zeros((B, G, 1, M, right.shape[-1]))]
    parts += [strip @ _first(right, i * b) for i, strip in enumerate(strips, 1)]
    return mx.addmm(mx.concatenate(parts, axis=2), squares, _in_blocks(right, n))


def _along_columns(squares: mx.array, strips: Sequence[mx.array], left: mx.array) -> mx.array:
    """The transpose's product with [B, G, n, M, X] from the right: [B, G, 1, T, X]."""
    B, G, n, _, X = left.shape
    b = squares.shape[-1]
    total, finished = mx.zeros((B, G, 1, n * b, X)), [mx.zeros((B, G, 1, b, X))]
    # From the last strip, the longest, to the first: the part of the sum beyond the next strip is finished.
    for i in range(n - 1, 0, -1):
        total = mx.addmm(_first(total, i * b), strips[i - 1].swapaxes(-1, -2), _block(left, i))
        finished.append(total[..., (i - 1) * b :, :])
    sums = mx.concatenate(finished[::-1], axis=3).reshape(B, G, n, b, X)
    return mx.addmm(sums, squares.swapaxes(-1, -2), left).reshape(B, G, 1, n * b, X)


def _block(array: mx.array, index: int) -> mx.array:
    """One of the n blocks of [B, G, n, M, X]."""
    return array[:, :, index : index + 1]


def _first(array: mx.array, positions: int) -> mx.array:
    """The first positions of [B, G, 1, T, X]."""
    return array[..., :positions, :]


def _in_blocks(array: mx.array, n: int) -> mx.array:
    """[B, G, 1, T, X] as [B, G, n, T/n, X]."""
    B, G, _, T, X = array.shape
    return array.reshape(B, G, n, T // n, X)


@functools.cache
def _square_mask(M: int, b: int) -> mx.array:
    """Additive float32 [M, b], b rows per head: the lowest number where the key comes after the query, else 0."""
    allowed = np.tile(np.tri(b, dtype=bool), (M // b, 1))
    return mx.array(np.where(allowed, 0, np.finfo(np.float32).min), dtype=mx.float32)
