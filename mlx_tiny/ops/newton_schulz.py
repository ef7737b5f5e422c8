"""Orthogonalisation of banks of matrices by Newton-Schulz iterations, the heart of Muon: plain MLX, and with a kernel.

A step X <- a X + (b A + c A A) X with A = X X^T costs three products for X [n, m], of n^2 m, n^3 and n^2 m
multiply-adds. A and A A = A A^T are symmetric: the kernel computes one triangle of their tiles and mirrors it, half of
the first two.
"""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.config import MUON_IMPLEMENTATIONS
from mlx_tiny.errors import TinyError
from mlx_tiny.ops import dispatch, muon_pack
from mlx_tiny.ops.dispatch import Choice
from mlx_tiny.ops.metal import MetalKernel
from mlx_tiny.ops.self_test import difference

# Jordan et al. 2024, "Muon": one quintic for every step, steepest at zero; singular values end in about [0.7, 1.2].
_QUINTIC = (3.4445, -4.7750, 2.0315)

# Amsel et al. 2025, "The Polar Express" (arXiv 2505.16932): the optimal polynomial of each step, for singular values
# in [1e-3, 1] after a safety factor of 1.01; later steps repeat the last polynomial.
_POLAR_EXPRESS = (
    (8.15655, -22.48329, 15.87877),
    (4.04293, -2.80892, 0.50002),
    (3.89167, -2.77248, 0.50606),
    (3.28575, -2.36813, 0.46449),
    (2.34654, -1.70978, 0.42324),
)
_SAFETY = {"quintic": 1.0, "polar_express": 1.01}

# Keeps a zero matrix zero instead of NaN; far below any gradient's norm.
_SMALLEST_NORM = 1e-20

_SYMMETRIC_PRODUCT = MetalKernel("symmetric_product", ("x", "addend", "factors"), ("product",))
_THREADS = 128
# A threadgroup's tile has 16 rows for each block. Large tiles read less, small ones keep more of the GPU at work; where
# the one overtakes the other has not been measured.
_BLOCKS, _LARGE_BLOCKS, _LARGE_ROWS = 2, 4, 256
# The kernel counts entries in uint.
_MOST_ENTRIES = 2**32


def orthogonalize(
    bank_NRC: mx.array,
    *,
    steps: int = 5,
    coefficients: str = "polar_express",
    implementation: str = "auto",
    partials_NP2: mx.array | None = None,
) -> mx.array:
    """Replace the singular values of every matrix of a bank by values near 1.

    X <- a X + (b A + c A A) X with A = X X^T, after division by the Frobenius norm, which is taken in float32.

    Args:
        bank_NRC: float32 or bfloat16 [N, rows, columns]; computed on the transposed bank where rows > columns.
        steps: iterations; five suffice for training.
        coefficients: `quintic` or `polar_express`.
        implementation: `plain`, `metal` (symmetric products by a kernel), or `auto`: what `ops/dispatch.py` chooses.
        partials_NP2: of P parts of each matrix, float32: the largest magnitude, above zero, and the sum of the squares
            in units of it, as `muon_pack` gives them; computed here where absent.

    Returns:
        The bank with (nearly) orthonormal rows or columns, in its shape and dtype; zero matrices stay zero.

    Raises:
        TinyError: another number of axes or type, unknown coefficients or implementation, or `metal` where no kernel
            can run, or for 2^32 entries or more.
    """
    polynomials = _polynomials(coefficients, steps)
    _check(bank_NRC)
    transposed = bank_NRC.shape[1] > bank_NRC.shape[2]
    x = bank_NRC.swapaxes(1, 2) if transposed else bank_NRC
    if implementation == "auto" and not _countable(x):
        implementation = "plain"
    implementation = choose(bank_NRC.dtype, implementation).implementation
    x = _normalized(x, partials_NP2, _SAFETY[coefficients])
    for a, b, c in polynomials:
        polynomial = _polynomial_by_kernel(x, b, c) if implementation == "metal" else _polynomial(x, b, c)
        x = mx.addmm(x, polynomial, x, alpha=1.0, beta=a)
    return x.swapaxes(1, 2) if transposed else x


def symmetric_product(
    bank_NRC: mx.array,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    addend_NRR: mx.array | None = None,
    blocks: int | None = None,
) -> mx.array:
    """alpha X X^T + beta addend for every matrix of a bank, by the Metal kernel; symmetric to the bit.

    Args:
        bank_NRC: float32 or bfloat16 [N, rows, columns], all at least 1; multiplied and added up in float32.
        alpha, beta: factors.
        addend_NRR: symmetric matrices in the dtype of the bank; of each, one triangle is read.
        blocks: a tile has 16 rows for each, 2 or 4; by the number of rows where absent.

    Returns:
        [N, rows, rows] in the dtype of the bank.

    Raises:
        TinyError: shapes or types that do not fit, 2^32 entries or more, or no Metal.
    """
    _check_product(bank_NRC, addend_NRR, blocks)
    N, R, _ = bank_NRC.shape
    if blocks is None:
        blocks = _LARGE_BLOCKS if R >= _LARGE_ROWS else _BLOCKS
    tiles = -(-R // (16 * blocks))
    return _SYMMETRIC_PRODUCT(
        [bank_NRC, bank_NRC if addend_NRR is None else addend_NRR, mx.array([alpha, beta], dtype=mx.float32)],
        template={"T": bank_NRC.dtype, "BLOCKS": blocks, "ADDS": addend_NRR is not None},
        threadgroups=(tiles * (tiles + 1) // 2, N, 1),
        threads=_THREADS,
        outputs=[((N, R, R), bank_NRC.dtype)],
    )[0]


def choose(dtype: mx.Dtype, implementation: str = "auto") -> Choice:
    """What serves Muon on this machine in this type, and why.

    Raises:
        TinyError: an unknown implementation, or `metal` where no kernel can run.
    """
    if implementation not in MUON_IMPLEMENTATIONS:
        raise TinyError(
            f"Unknown implementation {implementation!r} of Muon", expected=f"one of {', '.join(MUON_IMPLEMENTATIONS)}"
        )
    if implementation == "metal":
        dispatch.require_metal("Muon")
    if implementation != "auto":
        return Choice(implementation, dispatch.AS_ASKED)
    return dispatch.choose(dispatch.situation("muon", dtype), lambda: self_test(dtype))


def self_test(dtype: mx.Dtype) -> str | None:
    """Evaluate Muon's kernels against their plain paths on ragged matrices; how they fail, or None."""
    if (failure := muon_pack.self_test(dtype)) is not None:
        return failure
    bank_NRC = mx.random.normal((2, 67, 70), key=mx.random.key(0)).astype(dtype)
    got, right = ([orthogonalize(bank_NRC, implementation=name)] for name in ("metal", "plain"))
    if (failure := difference("orthogonalised bank", got, right, "Newton-Schulz kernel", dtype)) is not None:
        return failure
    # Every size of a tile, with and without an addend: each is a kernel of its own to Metal's compiler.
    wide_NRC = bank_NRC.astype(mx.float32)
    gram = wide_NRC @ wide_NRC.swapaxes(1, 2)
    addend = gram.astype(dtype)
    got = [symmetric_product(bank_NRC, blocks=_LARGE_BLOCKS)]
    got += [symmetric_product(bank_NRC, beta=1.0, addend_NRR=addend, blocks=size) for size in (_BLOCKS, _LARGE_BLOCKS)]
    return difference("symmetric product", got, [gram, *[gram + addend] * 2], "symmetric product", dtype)


def _polynomial(x_NRC: mx.array, b: float, c: float) -> mx.array:
    """b A + c A A with A = X X^T."""
    gram = x_NRC @ x_NRC.swapaxes(1, 2)
    return mx.addmm(gram, gram, gram, alpha=c, beta=b)


def _polynomial_by_kernel(x_NRC: mx.array, b: float, c: float) -> mx.array:
    gram = symmetric_product(x_NRC)
    return symmetric_product(gram, alpha=c, beta=b, addend_NRR=gram)


def _normalized(x: mx.array, partials_NP2: mx.array | None, safety: float) -> mx.array:
    """The bank over its Frobenius norms: divided by the largest entry first, so that the squares cannot overflow."""
    if partials_NP2 is None:
        magnitude = mx.abs(x)
        largest = mx.max(magnitude, axis=(1, 2), keepdims=True)
        # Not one shared node but one a use: shared, it and the quotient would each be a launch of their own.
        squares = mx.square(magnitude / mx.maximum(_SMALLEST_NORM, largest).astype(mx.float32))
        largest = mx.maximum(largest, _SMALLEST_NORM).astype(mx.float32)
    else:
        largests_NP1 = partials_NP2[..., :1]
        largest = mx.max(largests_NP1, axis=1, keepdims=True)
        squares = partials_NP2[..., 1:] * mx.square(largests_NP1 / largest)
    norm = mx.sqrt(mx.sum(squares, axis=(1, 2), keepdims=True))
    return (x / largest / mx.maximum(safety * norm, _SMALLEST_NORM)).astype(x.dtype)


def _polynomials(coefficients: str, steps: int) -> list[tuple[float, float, float]]:
    if coefficients == "quintic":
        return [_QUINTIC] * steps
    if coefficients == "polar_express":
        return [_POLAR_EXPRESS[min(step, len(_POLAR_EXPRESS) - 1)] for step in range(steps)]
    raise TinyError(f"Unknown coefficients {coefficients!r}", expected="quintic or polar_express")


def _check(bank_NRC: mx.array) -> None:
    if bank_NRC.ndim != 3 or bank_NRC.size == 0:
        raise TinyError(
            "Newton-Schulz takes a bank of matrices", expected="[N, rows, columns], none of them 0", got=bank_NRC.shape
        )
    if bank_NRC.dtype not in (mx.float32, mx.bfloat16):
        raise TinyError(
            "Newton-Schulz takes float32 or bfloat16",
            expected="mlx.core.float32 or mlx.core.bfloat16",
            got=bank_NRC.dtype,
            remedy="Convert the bank first; float16 would overflow",
        )


def _check_product(bank_NRC: mx.array, addend_NRR: mx.array | None, blocks: int | None) -> None:
    _check(bank_NRC)
    N, R, _ = bank_NRC.shape
    if addend_NRR is not None and (addend_NRR.shape != (N, R, R) or addend_NRR.dtype != bank_NRC.dtype):
        raise TinyError(
            f"The addend does not fit the symmetric products of a bank {bank_NRC.shape}",
            expected=f"{(N, R, R)} of {bank_NRC.dtype}",
            got=f"{addend_NRR.shape} of {addend_NRR.dtype}",
        )
    if blocks not in (None, _BLOCKS, _LARGE_BLOCKS):
        raise TinyError(
            "The kernel of symmetric products has no such tile",
            expected=f"{_BLOCKS} or {_LARGE_BLOCKS} blocks of 16 rows",
            got=blocks,
        )
    if not _countable(bank_NRC):
        raise TinyError(
            f"The kernel of symmetric products cannot count {_MOST_ENTRIES} entries",
            expected=f"fewer than {_MOST_ENTRIES} in the bank and in its products",
            got=bank_NRC.shape,
            remedy="Ask for 'auto' or 'plain'",
        )
    dispatch.require_metal("Muon")


def _countable(bank_NRC: mx.array) -> bool:
    """Whether the kernel can count the entries of a bank, and of its products."""
    N, R, C = bank_NRC.shape
    return N * R * max(R, C) < _MOST_ENTRIES
