"""Newton-Schulz iterations on the Gram matrices, which are smaller than long matrices themselves.

Every step multiplies X from the left by a polynomial of its Gram matrix A = X X^T. All of these commute, so that with
Q = a + b A + c A A the next Gram matrix is Q A Q, and the result is the product of all Q times the first X.
"""

from __future__ import annotations

import functools

import mlx.core as mx

from mlx_tiny.ops.muon.plain import Polynomials, one_by_one, orthogonalize_plainly, polynomial_plainly

# Squared singular values near 0 are rounded, perhaps below 0, and a step multiplies them by up to 66. Measured on
# values from 1 to 1e-7, five steps are off by 2e-3 of the largest entry, and ten diverge.
_MOST_STEPS = 5


def is_used(rows: int, columns: int, steps: int) -> bool:
    """Whether that many steps, for rows <= columns, take fewer multiply-adds on Gram matrices and are exact enough."""
    return columns >= 2 * rows and 2 <= steps <= _MOST_STEPS


def through_gram(x_NRC: mx.array, polynomials: Polynomials) -> mx.array:
    """All steps of `one_by_one`, on Gram matrices where that takes fewer multiply-adds and is exact enough."""
    _, rows, columns = x_NRC.shape
    if x_NRC.dtype != mx.float32 or not is_used(rows, columns, len(polynomials)):
        return one_by_one(x_NRC, polynomials, polynomial_plainly)
    gram_NRR = x_NRC @ x_NRC.swapaxes(1, 2)
    product_NRR = mx.eye(rows)[None]
    for step, (a, b, c) in enumerate(polynomials):
        change_NRR = mx.addmm(gram_NRR, gram_NRR, gram_NRR, alpha=c, beta=b)
        if step == 0:
            product_NRR = a * product_NRR + change_NRR
        else:
            product_NRR = mx.addmm(product_NRR, change_NRR, product_NRR, alpha=1.0, beta=a)
        if step < len(polynomials) - 1:
            for _ in range(2):
                gram_NRR = mx.addmm(gram_NRR, change_NRR, gram_NRR, alpha=1.0, beta=a)
    return product_NRR @ x_NRC


orthogonalize_through_gram = functools.partial(orthogonalize_plainly, iterate=through_gram)
"""`orthogonalize`, with Gram matrices."""
