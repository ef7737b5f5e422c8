"""Muon's part of a step in plain MLX: packing into banks, and orthogonalisation by Newton-Schulz iterations.

The gradient g of a parameter changes its momentum, m <- mu m + (1 - mu) g. The Nesterov look-ahead mu m + (1 - mu) g is
orthogonalised, in the banks of `layout.py`. For X [n, m], a step X <- a X + (b A + c A A) X with A = X X^T has three
products, of n^2 m, n^3 and n^2 m multiply-adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import mlx.core as mx

from mlx_tiny.errors import TinyError
from mlx_tiny.linux.lanes import over_lanes
from mlx_tiny.ops.muon.layout import Layout

Polynomials = Sequence[tuple[float, float, float]]
Iterate = Callable[[mx.array, Polynomials], mx.array]

# Jordan et al. 2024, "Muon": the same quintic at every step, steep at zero; singular values end in about [0.7, 1.2].
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

# Not zero, so that zeros can be divided by it; far below any gradient.
_SMALLEST = 1e-20


@dataclass(frozen=True)
class Packed:
    """The result of packing."""

    momenta: list[mx.array]
    banks: list[mx.array]
    """Each [N, short side, long side]."""
    partials: list[mx.array]
    """Per bank, float32 [N, P, 2]: numbers from which `orthogonalize` computes the Frobenius norms."""
    stand_ins: list[mx.array] = field(default_factory=list)
    """The kernel's outputs for absent parameters, which must be a zero each."""


def update(
    gradients: Sequence[mx.array],
    momenta: Sequence[mx.array],
    mu: mx.array,
    *,
    layout: Layout,
    steps: int,
    coefficients: str,
    pack: Callable[..., Packed],
    orthogonalize: Callable[..., mx.array],
) -> tuple[list[mx.array], list[mx.array]]:
    """The operation `muon`, by an implementation of packing and one of the orthogonalisation."""
    packed = pack(gradients, momenta, mu, layout=layout)
    return packed.momenta, [
        orthogonalize(bank, steps=steps, coefficients=coefficients, partials_NP2=partials)
        for bank, partials in zip(packed.banks, packed.partials, strict=True)
    ]


def pack_plainly(
    gradients: Sequence[mx.array],
    momenta: Sequence[mx.array],
    mu: mx.array,
    *,
    layout: Layout,
    dtype: mx.Dtype = mx.float32,
) -> Packed:
    """The operation `muon_pack` in plain MLX."""
    averages = [mu * momentum + (1 - mu) * gradient for gradient, momentum in zip(gradients, momenta, strict=True)]
    ahead = [(mu * average + (1 - mu) * gradient) for gradient, average in zip(gradients, averages, strict=True)]
    banks: list[mx.array] = []
    for bank, (_, short, long) in enumerate(layout.banks):
        parts = []
        for run in (run for run in layout.runs if run.bank == bank):
            rows = ahead[run.parameter][:, run.first_row : run.first_row + run.count * run.rows]
            matrices = rows.reshape(-1, run.rows, run.columns)
            parts.append((matrices.swapaxes(1, 2) if run.tall else matrices).reshape(-1, short, long))
        banks.append(mx.concatenate(parts).astype(dtype))
    partials = []
    for bank_NRC in banks:
        magnitude = mx.abs(bank_NRC.astype(mx.float32))
        largest = mx.maximum(mx.max(magnitude, axis=(1, 2), keepdims=True), _SMALLEST)
        squares = mx.sum(mx.square(magnitude / largest), axis=(1, 2), keepdims=True)
        partials.append(mx.concatenate([largest, squares], axis=2))
    return Packed(averages, banks, partials)


def orthogonalize(
    bank_NRC: mx.array,
    polynomial: Callable[[mx.array, float, float], mx.array],
    *,
    steps: int = 5,
    coefficients: str = "polar_express",
    partials_NP2: mx.array | None = None,
    iterate: Iterate | None = None,
) -> mx.array:
    """Replace the singular values of every matrix of a bank by values near 1.

    X <- a X + (b A + c A A) X with A = X X^T, after division by the Frobenius norm, which is computed in float32.

    Args:
        bank_NRC: float32 or bfloat16 [N, rows, columns]; transposed during the computation if rows > columns.
        polynomial: computes b A + c A A from X, b and c: `polynomial_plainly` or `polynomial_on_metal`.
        steps: number of iterations; five are enough for training.
        coefficients: `quintic` or `polar_express`.
        partials_NP2: for P parts of each matrix, float32: the largest magnitude, above zero, and the sum of the squares
            divided by its square; from packing, or computed here by default.

    Returns:
        The bank with nearly orthonormal rows or columns, in the same shape and dtype; zero matrices stay zero.

    Raises:
        TinyError: unknown coefficients.
    """
    polynomials = _polynomials(coefficients, steps)
    transposed = bank_NRC.shape[1] > bank_NRC.shape[2]
    x = bank_NRC.swapaxes(1, 2) if transposed else bank_NRC
    x = _normalized(x, partials_NP2, _SAFETY[coefficients])
    x = iterate(x, polynomials) if iterate else one_by_one(x, polynomials, polynomial)
    return x.swapaxes(1, 2) if transposed else x


def one_by_one(
    x_NRC: mx.array, polynomials: Polynomials, polynomial: Callable[[mx.array, float, float], mx.array]
) -> mx.array:
    """X <- a X + (b A + c A A) X with A = X X^T, once for each a, b, c."""
    for a, b, c in polynomials:
        x_NRC = mx.addmm(x_NRC, polynomial(x_NRC, b, c), x_NRC, alpha=1.0, beta=a)
    return x_NRC


def orthogonalize_plainly(
    bank_NRC: mx.array,
    *,
    steps: int = 5,
    coefficients: str = "polar_express",
    partials_NP2: mx.array | None = None,
    iterate: Iterate | None = None,
) -> mx.array:
    """`orthogonalize` in plain MLX; each lane computes some of the matrices, which are independent."""

    def share(bank_NRC: mx.array, partials_NP2: mx.array | None = None) -> mx.array:
        return orthogonalize(
            bank_NRC,
            polynomial_plainly,
            steps=steps,
            coefficients=coefficients,
            partials_NP2=partials_NP2,
            iterate=iterate,
        )

    return over_lanes(share, bank_NRC, *([] if partials_NP2 is None else [partials_NP2]))


def polynomial_plainly(x_NRC: mx.array, b: float, c: float) -> mx.array:
    """b A + c A A with A = X X^T, for all matrices of a bank."""
    gram = x_NRC @ x_NRC.swapaxes(1, 2)
    return mx.addmm(gram, gram, gram, alpha=c, beta=b)


def symmetric_product_plainly(
    bank_NRC: mx.array,
    addend_NRR: mx.array | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    blocks: int | None = None,
) -> mx.array:
    """The operation `symmetric_product` by MLX's product; `blocks` is only for the kernel."""
    transposed = bank_NRC.swapaxes(1, 2)
    if addend_NRR is None:
        N, R, _ = bank_NRC.shape
        addend_NRR, beta = mx.zeros((N, R, R), dtype=bank_NRC.dtype), 0.0
    return mx.addmm(addend_NRR, bank_NRC, transposed, alpha=alpha, beta=beta)


def _normalized(x: mx.array, partials_NP2: mx.array | None, safety: float) -> mx.array:
    """The bank divided by its Frobenius norms; first by the largest entry, so that the squares cannot overflow."""
    if partials_NP2 is None:
        magnitude = mx.abs(x)
        largest = mx.max(magnitude, axis=(1, 2), keepdims=True)
        # Computed again below: if it were shared, it and the quotient would each need a launch.
        squares = mx.square(magnitude / mx.maximum(_SMALLEST, largest).astype(mx.float32))
        largest = mx.maximum(largest, _SMALLEST).astype(mx.float32)
    else:
        largests_NP1 = partials_NP2[..., :1]
        largest = mx.max(largests_NP1, axis=1, keepdims=True)
        squares = partials_NP2[..., 1:] * mx.square(largests_NP1 / largest)
    norm = mx.sqrt(mx.sum(squares, axis=(1, 2), keepdims=True))
    return (x / largest / mx.maximum(safety * norm, _SMALLEST)).astype(x.dtype)


def _polynomials(coefficients: str, steps: int) -> Polynomials:
    if coefficients == "quintic":
        return [_QUINTIC] * steps
    if coefficients == "polar_express":
        return [_POLAR_EXPRESS[min(step, len(_POLAR_EXPRESS) - 1)] for step in range(steps)]
    raise TinyError(f"Unknown coefficients {coefficients!r}", expected="quintic or polar_express")
