"""FLOPs and bytes against counting one by one."""

from __future__ import annotations

import itertools

import pytest

from mlx_tiny.bench import counts

B, T, H, G, K = 2, 7, 4, 2, 3


def pairs(rows_to_columns) -> int:
    """Query-key pairs of one head, counted."""
    return sum(rows_to_columns(t, s) for t, s in itertools.product(range(T), repeat=2))


def test_attention_meets_the_keys_up_to_its_own() -> None:
    causal = pairs(lambda t, s: s <= t)
    assert counts.attention_flops(B, T, H, K) == B * H * causal * (2 * K + 2 * K)


def test_dense_attention_meets_all_keys() -> None:
    assert counts.dense_attention_flops(B, T, H, K, False) == B * H * T * T * 4 * K
    assert counts.dense_attention_flops(B, T, H, K, True) == 3 * B * H * T * T * 4 * K


# Seven queries: of at most 5 a block, two of 4, the second padded.
@pytest.mark.parametrize(
    ("block", "rows", "blocks"), [(1, 1, 7), (2, 2, 4), (3, 3, 3), (5, 4, 2), (7, 7, 1), (64, 7, 1)]
)
def test_blocks_of_queries_meet_keys_up_to_their_last(block: int, rows: int, blocks: int) -> None:
    met = sum(rows * rows * (number + 1) for number in range(blocks))
    forward = B * H * met * 2 * (K + (K + 1))
    # Backward: the weights' gradients take K + 1 numbers a pair, those of query, key and value K each.
    assert counts.blocked_attention_flops(B, T, H, K, False, block) == forward
    assert counts.blocked_attention_flops(B, T, H, K, True, block) == forward + B * H * met * 2 * ((K + 1) + 3 * K)


def test_blocks_of_one_query_are_causal_attention() -> None:
    one_more_column = 2 * B * H * T * (T + 1) / 2
    assert counts.blocked_attention_flops(B, T, H, K, False, 1) == counts.attention_flops(B, T, H, K) + one_more_column


@pytest.mark.parametrize("tile", [1, 2, 4, 32])
def test_square_tiles_up_to_the_diagonal(tile: int) -> None:
    side = -(-T // tile)
    met = tile * tile * sum(row >= column for row, column in itertools.product(range(side), repeat=2))
    assert counts.tiled_attention_flops(B, T, H, K, False, tile) == B * H * met * 2 * K * 2
    assert counts.tiled_attention_flops(B, T, H, K, True, tile) == B * H * met * 2 * K * 9


def test_bytes_of_attention() -> None:
    query = output = B * T * H * K
    key = value = B * T * G * K
    assert counts.attention_bytes(B, T, H, G, K, False, "float32") == 4 * (query + key + value + output)
    assert counts.attention_bytes(B, T, H, G, K, True, "bfloat16") == 2 * 2 * (query + key + value + output)


def test_heads() -> None:
    assert counts.heads_flops(B, T, H, G, K, False) == 7 * B * T * (H + G) * K
    assert counts.heads_flops(B, T, H, G, K, True) == 21 * B * T * (H + G) * K
    assert counts.heads_bytes(B, T, H, G, K, False, "float32") == 4 * 2 * B * T * (H + 2 * G) * K
    assert counts.heads_bytes(B, T, H, G, K, True, "float32") == 4 * 4 * B * T * (H + 2 * G) * K


def test_head_and_loss() -> None:
    N, D, V = 5, 3, 11
    multiply_adds = N * D * V
    assert counts.cross_entropy_flops(N, D, V, False) == 2 * multiply_adds
    assert counts.cross_entropy_flops(N, D, V, True) == 6 * multiply_adds
    # Targets and losses take four bytes; with gradients the losses' are read.
    assert counts.cross_entropy_bytes(N, D, V, False, "bfloat16") == 2 * (N * D + V * D) + 4 * 2 * N
    assert counts.cross_entropy_bytes(N, D, V, True, "float32") == 4 * 2 * (N * D + V * D) + 4 * 3 * N


@pytest.mark.parametrize("matrices", [1, 2])
def test_mlp(matrices: int) -> None:
    N, D, F = 5, 3, 8
    weights = matrices * F * D + D * F
    assert counts.mlp_flops(N, D, F, matrices, False) == 2 * N * weights
    assert counts.mlp_flops(N, D, F, matrices, True) == 6 * N * weights
    assert counts.mlp_bytes(N, D, F, matrices, True, "float32") == 4 * 2 * (N * D + weights + N * D)


def test_newton_schulz() -> None:
    count, n, m = 3, 2, 5
    gram, square, product = n * n * m, n * n * n, n * n * m
    banks = [(count, n, m), (1, 4, 4)]
    other = 4**3 * 3
    direct = 2 * (count * (gram + square + product) + other)
    assert counts.newton_schulz_flops(banks, 5, symmetric=False) == 5 * direct
    halved = 2 * (count * (gram / 2 + square / 2 + product) + 4**3 * 2)
    assert counts.newton_schulz_flops(banks, 5, symmetric=True) == 5 * halved
    assert counts.newton_schulz_bytes(banks, "float32") == 4 * 2 * (count * n * m + 16)


def test_updates() -> None:
    assert counts.adamw_bytes(10) == 10 * 4 * (4 + 3)
    assert counts.momentum_bytes(10) == 10 * 4 * (3 + 2)
    # first: 3, second: 4, root and epsilon: 2, quotient, rate and difference: 3
    assert counts.adamw_flops(10) == 10 * (3 + 4 + 2 + 3)


def test_products_and_norms() -> None:
    N, D, F = 5, 3, 8
    assert counts.product_flops(N, D, F) == 3 * 2 * N * D * F
    assert counts.product_bytes(N, D, F, "float32") == 4 * 2 * (N * D + D * F + N * F)
    assert counts.norm_flops(N, D) == 9 * N * D
    assert counts.norm_bytes(N, D, "bfloat16") == 2 * (2 + 2) * N * D
