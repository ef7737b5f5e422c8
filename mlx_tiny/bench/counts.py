"""FLOPs and bytes of the operations, counted by formula.

Model FLOPs are what the result needs: two a multiply-add, the masked half of attention and the mirrored half of
symmetric products left out, twice the forward pass for the gradients, nothing recomputed. Executed FLOPs are what an
implementation does for it. Least bytes read each input once and write each output once.
"""

from __future__ import annotations

from collections.abc import Iterable

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# Elementwise work a number. QK-norm: square, sum, scale, weight, and three for the rotation; AdamW as its formulas say.
HEADS_FLOPS, ADAMW_FLOPS = 7, 12
# The gradients of a product of two matrices are two products.
BOTH_WAYS = 3


def attention_flops(B: int, T: int, H: int, K: int) -> float:
    """Forward: query t meets t + 1 keys, in the scores' product and in the values'."""
    return 2 * 2 * B * H * K * T * (T + 1) / 2


def dense_attention_flops(B: int, T: int, H: int, K: int, both: bool) -> float:
    """Executed where the masked half is computed too."""
    return 2.0 * 2 * B * H * K * T * T * (BOTH_WAYS if both else 1)


def blocked_attention_flops(B: int, T: int, H: int, K: int, both: bool, block: int) -> float:
    """Executed by the CPU's blocks of queries: values carry a column of ones, and so does one product backward.

    Args:
        block: most queries of a block; all blocks are equally long, the last one padded.
    """
    blocks = -(-T // block)
    pairs = _pairs_of_tiles(B, H, blocks, -(-T // blocks))
    forward = 2.0 * pairs * (K + K + 1)
    return forward + 2.0 * pairs * (K + 1 + 3 * K) if both else forward


def tiled_attention_flops(B: int, T: int, H: int, K: int, both: bool, tile: int) -> float:
    """Executed by the Metal kernels' square tiles: two products forward, three and four in the two backward kernels."""
    pairs = _pairs_of_tiles(B, H, -(-T // tile), tile)
    return 2.0 * pairs * K * (2 + 3 + 4 if both else 2)


def _pairs_of_tiles(B: int, H: int, tiles: int, side: int) -> float:
    """Query-key pairs in square tiles up to the diagonal, so many a side."""
    return B * H * tiles * (tiles + 1) / 2 * side * side


def attention_bytes(B: int, T: int, H: int, G: int, K: int, both: bool, dtype: str) -> float:
    """Query, keys, values and output; with gradients their gradients too, of which the output's is read."""
    return float(BYTES[dtype] * B * T * K * (2 * H + 2 * G) * (2 if both else 1))


def heads_flops(B: int, T: int, H: int, G: int, K: int, both: bool) -> float:
    """Norm, weight and rotation of queries and keys; values pass through."""
    return float(HEADS_FLOPS * B * T * (H + G) * K * (BOTH_WAYS if both else 1))


def heads_bytes(B: int, T: int, H: int, G: int, K: int, both: bool, dtype: str) -> float:
    """The projection in and out; with gradients the same again."""
    return float(BYTES[dtype] * B * T * (H + 2 * G) * K * (4 if both else 2))


def cross_entropy_flops(N: int, D: int, V: int, both: bool) -> float:
    """The head's product; the softmax is not counted, as in the model's FLOPs."""
    return 2.0 * N * D * V * (BOTH_WAYS if both else 1)


def cross_entropy_bytes(N: int, D: int, V: int, both: bool, dtype: str) -> float:
    """Hidden states, head, targets and losses; with gradients those of the first two, and the losses'."""
    arrays = BYTES[dtype] * (N * D + V * D) * (2 if both else 1)
    return float(arrays + 4 * N * (3 if both else 2))


def mlp_flops(N: int, D: int, F: int, inputs: int, both: bool) -> float:
    """Both products; `inputs` is 1, or 2 where a gate has its own matrix."""
    return 2.0 * N * D * F * (inputs + 1) * (BOTH_WAYS if both else 1)


def mlp_bytes(N: int, D: int, F: int, inputs: int, both: bool, dtype: str) -> float:
    """Input, output and both matrices; with gradients the same again."""
    return float(BYTES[dtype] * (2 * N * D + (inputs + 1) * F * D) * (2 if both else 1))


def newton_schulz_flops(banks: Iterable[tuple[int, int, int]], steps: int, symmetric: bool) -> float:
    """All steps over banks [N, n, m] with n <= m: X X^T and its square, symmetric or not, and a product with X."""
    total = 0.0
    for count, n, m in banks:
        gram, square = n * n * m, n * n * n
        total += count * 2 * ((gram + square) / 2 + gram if symmetric else gram + square + gram)
    return steps * total


def newton_schulz_bytes(banks: Iterable[tuple[int, int, int]], dtype: str) -> float:
    """Each bank in and out, once: what lies between the steps could stay on the chip."""
    return float(2 * BYTES[dtype] * sum(count * n * m for count, n, m in banks))


def adamw_flops(parameters: int) -> float:
    """Moments, corrections and the update."""
    return float(ADAMW_FLOPS * parameters)


def adamw_bytes(parameters: int) -> float:
    """In float32: weight, gradient and two moments in, weight and moments out."""
    return 4.0 * 7 * parameters


def momentum_bytes(parameters: int) -> float:
    """Muon beside its orthogonalisation, in float32: weight, gradient and average in, weight and average out."""
    return 4.0 * 5 * parameters


def product_flops(N: int, D: int, F: int) -> float:
    """N rows of D numbers times a matrix [F, D], and its two gradients."""
    return BOTH_WAYS * 2.0 * N * D * F


def product_bytes(N: int, D: int, F: int, dtype: str) -> float:
    """Rows, matrix and result of a product, and the same again for their gradients."""
    return float(2 * BYTES[dtype] * (N * D + D * F + N * F))


def norm_flops(N: int, D: int) -> float:
    """Square, sum and scale of N rows, and as much again twice for the gradient."""
    return float(BOTH_WAYS * 3 * N * D)


def norm_bytes(N: int, D: int, dtype: str) -> float:
    """Rows in and out, and the same for their gradients."""
    return float(4 * BYTES[dtype] * N * D)
