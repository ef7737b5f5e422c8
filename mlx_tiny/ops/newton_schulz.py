"""Orthogonalisation of banks of matrices by Newton-Schulz iterations, the heart of Muon."""

from __future__ import annotations

import mlx.core as mx

from mlx_tiny.errors import TinyError

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


def orthogonalize(bank_NRC: mx.array, *, steps: int = 5, coefficients: str = "polar_express") -> mx.array:
    """Replace the singular values of every matrix of a bank by values near 1.

    X <- a X + (b A + c A A) X with A = X X^T, after division by the Frobenius norm, which is taken in float32.

    Args:
        bank_NRC: float32 or bfloat16 [N, rows, columns]; computed on the transposed bank where rows > columns.
        steps: iterations; five suffice for training.
        coefficients: `quintic` or `polar_express`.

    Returns:
        The bank with (nearly) orthonormal rows or columns, in its shape and dtype; zero matrices stay zero.

    Raises:
        TinyError: another number of axes, or unknown coefficients.
    """
    if bank_NRC.ndim != 3:
        raise TinyError("Newton-Schulz takes a bank of matrices", expected="[N, rows, columns]", got=bank_NRC.shape)
    transposed = bank_NRC.shape[1] > bank_NRC.shape[2]
    x = bank_NRC.swapaxes(1, 2) if transposed else bank_NRC
    x = _normalized(x, _SAFETY.get(coefficients, 1.0))
    for a, b, c in _polynomials(coefficients, steps):
        gram = x @ x.swapaxes(1, 2)
        polynomial = mx.addmm(gram, gram, gram, alpha=c, beta=b)
        x = mx.addmm(x, polynomial, x, alpha=1.0, beta=a)
    return x.swapaxes(1, 2) if transposed else x


def _normalized(x: mx.array, safety: float) -> mx.array:
    """The bank over its Frobenius norms: divided by the largest entry first, so that the squares cannot overflow."""
    wide = x.astype(mx.float32)
    largest = mx.max(mx.abs(wide), axis=(1, 2), keepdims=True)
    wide = wide / mx.maximum(largest, _SMALLEST_NORM)
    norm = mx.sqrt(mx.sum(mx.square(wide), axis=(1, 2), keepdims=True))
    return (wide / mx.maximum(safety * norm, _SMALLEST_NORM)).astype(x.dtype)


def _polynomials(coefficients: str, steps: int) -> list[tuple[float, float, float]]:
    if coefficients == "quintic":
        return [_QUINTIC] * steps
    if coefficients == "polar_express":
        return [_POLAR_EXPRESS[min(step, len(_POLAR_EXPRESS) - 1)] for step in range(steps)]
    raise TinyError(f"Unknown coefficients {coefficients!r}", expected="quintic or polar_express")
