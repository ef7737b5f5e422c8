"""The table of tolerances: the largest error allowed for each kind of result, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Bounds:
    """The error allowed at any entry of an array: `relative` times the largest expected magnitude, plus `absolute`."""

    relative: float
    absolute: float
    reason: str

    def excess(self, got: ArrayLike, expected: ArrayLike) -> float:
        """The largest error as a multiple of what is allowed: at most 1 if the result is right.

        Args:
            got: array, as float64 or convertible to it.
            expected: the reference, of the same shape.

        Returns:
            0 for equal arrays; infinity if shapes differ, or a NaN or infinity is in only one of the arrays.
        """
        got, expected = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
        if got.shape != expected.shape:
            return float("inf")
        finite = np.isfinite(expected)
        if not np.array_equal(got[~finite], expected[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
            return float("inf")
        if not finite.any():
            return 0.0
        error = np.abs(got[finite] - expected[finite]).max()
        allowed = self.relative * np.abs(expected[finite]).max() + self.absolute
        return float(error / allowed) if allowed else (0.0 if error == 0 else float("inf"))


# Rounding error of one operation, half a unit in the last place of 1: 24, 11 and 8 bits of mantissa.
_FLOAT32, _FLOAT16, _BFLOAT16 = 2.0**-24, 2.0**-11, 2.0**-8

_SUMS = "sums of some hundred rounded products"

TABLE: dict[tuple[str, str], Bounds] = {
    ("attention", "float32"): Bounds(3e-6, 1e-6, "the CPU's exponential is 2e-6 off; see linux/rows.py"),
    ("attention", "float16"): Bounds(4 * _FLOAT16, 0.0, "weights and output are rounded to the type"),
    ("attention", "bfloat16"): Bounds(6 * _BFLOAT16, 0.0, "weights and output are rounded to the type"),
    ("attention gradient", "float16"): Bounds(12 * _FLOAT16, 2e-3, "as the output, and differences of equal terms"),
    ("attention gradient", "bfloat16"): Bounds(8 * _BFLOAT16, 2e-2, "as the output, and differences of equal terms"),
    ("attention gradient", "float32"): Bounds(
        5e-6, 5e-6, "a first row's gradient is 0: the difference of two sums of K products"
    ),
    ("attention of extreme scores", "float32"): Bounds(
        3000 * _FLOAT32, 0.0, "scores of 1000 are sums, rounded several times, and exponents"
    ),
    ("attention of extreme scores", "float16"): Bounds(4 * _FLOAT16, 0.0, "weights and output are rounded to the type"),
    ("attention of extreme scores", "bfloat16"): Bounds(4 * _BFLOAT16, 0.0, "weights and output are rounded to it"),
    ("attention of rare keys", "float32"): Bounds(
        2e-5, 0.0, "an exponent of 43, rounded, and a GPU's exp2 as far from 1; wrong factors are 1e-4 off"
    ),
    ("newton_schulz of rank one", "float32"): Bounds(
        1e-3, 0.0, "rounding in directions where X is zero, which five steps of a polar express raise by up to 990"
    ),
    ("attention kernel", "float32"): Bounds(2e-5, 5e-6, "exp2 and log2 of a GPU; a first row's gradient is 0"),
    ("attention on a GPU", "float32"): Bounds(2e-5, 5e-6, "as the kernel"),
    ("attention on a GPU", "float16"): Bounds(12 * _FLOAT16, 2e-3, "cotangents and results are rounded to the type"),
    ("attention on a GPU", "bfloat16"): Bounds(8 * _BFLOAT16, 2e-2, "cotangents and results are rounded to the type"),
    ("qk_norm_rope kernel", "float32"): Bounds(
        32 * _FLOAT32, 0.0, "norm, weight and rotation in a row, and sums over all rows"
    ),
    ("qk_norm_rope kernel", "float16"): Bounds(4 * _FLOAT16, 0.0, "float32 inside; cotangents and result are rounded"),
    ("qk_norm_rope kernel", "bfloat16"): Bounds(
        4 * _BFLOAT16, 0.0, "float32 inside; cotangents and result are rounded"
    ),
    ("qk_norm_rope", "float32"): Bounds(200 * _FLOAT32, 0.0, "as the rotary positions, whose angles are rounded"),
    ("qk_norm_rope", "float16"): Bounds(6 * _FLOAT16, 0.0, "norm, weight, table and rotation are rounded to it"),
    ("qk_norm_rope", "bfloat16"): Bounds(6 * _BFLOAT16, 0.0, "norm, weight, table and rotation are rounded to it"),
    ("norm", "float32"): Bounds(16 * _FLOAT32, 0.0, "a sum of squares, its root, and differences in the gradient"),
    ("norm", "float16"): Bounds(4 * _FLOAT16, 0.0, "float32 inside; cotangents and result are rounded"),
    ("norm", "bfloat16"): Bounds(4 * _BFLOAT16, 0.0, "float32 inside; cotangents and result are rounded"),
    ("activation", "float32"): Bounds(2e-6, 0.0, "a sigmoid is a quarter as far off as its exponential, 2e-6"),
    ("activation", "float16"): Bounds(4 * _FLOAT16, 0.0, "a sigmoid and two products, each rounded to the type"),
    ("activation", "bfloat16"): Bounds(4 * _BFLOAT16, 0.0, "a sigmoid and two products, each rounded to the type"),
    ("mlp", "float32"): Bounds(16 * _FLOAT32, 0.0, f"{_SUMS}, twice"),
    ("mlp", "float16"): Bounds(6 * _FLOAT16, 0.0, "both products and the activation are rounded to the type"),
    ("mlp", "bfloat16"): Bounds(6 * _BFLOAT16, 0.0, "both products and the activation are rounded to the type"),
    ("cross_entropy", "float32"): Bounds(16 * _FLOAT32, 1e-6, f"{_SUMS}; the loss is a difference of logits"),
    ("cross_entropy", "float16"): Bounds(2 * _FLOAT16, 0.0, "logits are rounded to the type"),
    ("cross_entropy", "bfloat16"): Bounds(_BFLOAT16, 0.0, "logits are rounded to the type"),
    ("cross_entropy gradient", "float32"): Bounds(3e-6, 1e-6, "the exponential's error"),
    ("cross_entropy gradient", "float16"): Bounds(8 * _FLOAT16, 0.0, "logits and their gradients are rounded"),
    ("cross_entropy gradient", "bfloat16"): Bounds(6 * _BFLOAT16, 0.0, "logits and their gradients are rounded"),
    ("cross_entropy of large logits", "float32"): Bounds(
        1e-5, 1e-6, "logits of hundreds, themselves rounded by some 2e-5, before the exponential"
    ),
    ("rotary", "float32"): Bounds(200 * _FLOAT32, 0.0, "angles of up to 230 radians, rounded"),
    ("rotary", "float16"): Bounds(4 * _FLOAT16, 0.0, "table, two products and their sum, each rounded"),
    ("rotary", "bfloat16"): Bounds(4 * _BFLOAT16, 0.0, "table, two products and their sum, each rounded"),
    ("rotary scores", "float32"): Bounds(0.0, 5e-6, "angles of up to 40 radians, rounded, times products near 3"),
    ("newton_schulz", "float32"): Bounds(
        5e-5, 0.0, "rounding, which five steps multiply by up to 8 each where X is small"
    ),
    ("newton_schulz", "bfloat16"): Bounds(
        0.06,
        0.0,
        "as in float32 with products of 8 bits, but singular values away from 0, where each step halves errors",
    ),
    ("newton_schulz of a preset", "float32"): Bounds(5e-4, 0.0, "as above, on matrices of up to 512 by 2048"),
    ("newton_schulz of a preset", "bfloat16"): Bounds(0.06, 0.0, "as above, or with products of TF32's 10 bits"),
    ("step losses", "float32"): Bounds(2e-5, 0.0, "three steps, in which Newton-Schulz multiplies rounding errors"),
    ("step losses", "bfloat16"): Bounds(1e-2, 0.0, "as in float32, with activations of 8 bits"),
    ("newton_schulz kernel", "float32"): Bounds(
        1e-4, 0.0, "distance to the plain implementation: rounding errors of both"
    ),
    ("newton_schulz kernel", "bfloat16"): Bounds(
        0.15, 0.0, "distance to the plain implementation: sums in another order, whose differences five steps multiply"
    ),
    ("symmetric_product", "float32"): Bounds(16 * _FLOAT32, 0.0, _SUMS),
    ("symmetric_product", "bfloat16"): Bounds(_BFLOAT16 + 16 * _FLOAT32, 0.0, "float32 inside; the result is rounded"),
    ("muon_pack", "float32"): Bounds(16 * _FLOAT32, 0.0, "two weighted means in a row, and sums of their squares"),
    ("muon_pack norms", "float32"): Bounds(
        64 * _FLOAT32, 0.0, "sums of up to 7,200 squares, which a CPU adds up one by one"
    ),
    ("muon_pack", "bfloat16"): Bounds(_BFLOAT16 + 16 * _FLOAT32, 0.0, "the same, and the result is rounded"),
    ("weights as read", "float32"): Bounds(0.0, 0.0, "the same bytes"),
    ("model", "float32"): Bounds(5e-6, 0.0, "the errors of attention and products, through a few layers"),
    ("model", "bfloat16"): Bounds(5e-3, 0.0, "of a mean loss, whose tokens' errors of 2 % mostly cancel"),
    ("model gradient", "float32"): Bounds(15e-6, 0.0, "as the output, three times as many operations"),
    ("model gradient", "bfloat16"): Bounds(0.2, 0.0, "some ten roundings to 8 bits between loss and parameter"),
    ("stage", "float32"): Bounds(4e-5, 0.0, "products of up to 2048 terms, and rounded angles of 512 radians"),
    ("stage", "bfloat16"): Bounds(8 * _BFLOAT16, 0.0, "a product, a norm and a rotation, each rounded"),
    ("stage loss", "float32"): Bounds(
        0.0, 1.5e-5, "the difference of a logarithm and a logit of up to 20, a sum of hundreds of products"
    ),
    ("stage loss", "bfloat16"): Bounds(2 * _BFLOAT16, 0.0, "logits and what the head multiplies are rounded"),
    ("stage gradient", "float32"): Bounds(15e-6, 0.0, "as the stage, and differences of equal terms"),
    ("stage gradient", "bfloat16"): Bounds(12 * _BFLOAT16, 0.0, "as the stage, and differences of equal terms"),
    ("stage sum", "float32"): Bounds(15e-6, 0.0, "as the gradient, of a sum's terms, most of which cancel"),
    ("stage sum", "bfloat16"): Bounds(12 * _BFLOAT16, 0.0, "as the gradient, of a sum's terms, most of which cancel"),
    ("sum over rows", "float32"): Bounds(
        16 * _FLOAT32,
        0.0,
        "a multiple of the sum of absolute terms, of which 65,000 nearly cancel; measured are 2 units",
    ),
    ("sum over rows", "bfloat16"): Bounds(_BFLOAT16 / 4, 0.0, "as in float32, of terms that are rounded to 8 bits"),
    ("both sides", "float32"): Bounds(5e-6, 0.0, "both in float32: the errors of attention and products twice"),
    ("both sides' gradient", "float32"): Bounds(15e-6, 0.0, "as the output, three times as many operations"),
    ("formula", "float64"): Bounds(1e-10, 1e-12, "the same formula in float64, added up in another order"),
    ("slope", "float64"): Bounds(1e-6, 1e-9, "central differences of 1e-6 in float64: rounding of 1e-16 over the step"),
    ("cache", "float32"): Bounds(1e-5, 0.0, "other shapes are summed in another order"),
    ("parts of a batch", "float32"): Bounds(1e-5, 0.0, "means of parts are added up in another order"),
    ("training with kernels", "float32"): Bounds(
        1e-4, 0.0, "sums in another order, whose differences 20 steps multiply"
    ),
    ("training losses", "bfloat16"): Bounds(2e-3, 0.0, "of losses near ln V over a dozen steps"),
    ("AdamW", "float32"): Bounds(1e-5, 5e-6, "20 steps, each rounding weights near 4 by 2e-7"),
    ("Muon", "float32"): Bounds(3e-5, 5e-6, "as AdamW, and Newton-Schulz's error"),
    ("Muon in bfloat16", "float32"): Bounds(
        0.02, 0.0, "torch.optim.Muon rounds Newton-Schulz to bfloat16; over 20 steps the rounding cancels in part"
    ),
    ("moment", "float32"): Bounds(24 * _FLOAT32, 0.0, "20 weighted means in a row, of squares of clipped gradients"),
    ("schedule", "float64"): Bounds(1e-12, 1e-15, "the same few operations in float64"),
    ("clipping", "float32"): Bounds(16 * _FLOAT32, 0.0, "one norm of all gradients, and a product"),
    ("first losses", "float32"): Bounds(1e-5, 0.0, "20 steps, each of which starts with the errors of those before"),
    ("losses", "float32"): Bounds(1e-3, 0.0, "200 steps, in which rounding differences of weights grow"),
    ("end of a run", "float32"): Bounds(5e-3, 0.0, "half a percent, for a run that changes its backend"),
    ("bits per byte", "float32"): Bounds(0.0, 1e-6, "a mean of many losses, whose rounding errors cancel"),
    ("export", "float32"): Bounds(
        5e-6, 1e-5, "as a model; transformers and mlx-lm are 1e-6 of the largest logit off, llama.cpp 2.4e-6"
    ),
    ("export", "float16"): Bounds(16 * _FLOAT16, 0.0, "weights and activations are rounded, through a few layers"),
    ("export", "bfloat16"): Bounds(16 * _BFLOAT16, 0.0, "weights and activations are rounded, through a few layers"),
    ("export", "q8_0"): Bounds(0.1, 0.0, "weights in steps of a 127th of the largest in 32"),
    ("export bits per byte", "float32"): Bounds(0.0, 1e-5, "a mean of many losses, whose rounding errors cancel"),
    ("export bits per byte", "float16"): Bounds(1e-3, 0.0, "as in float32, with a few per mille for each token"),
    ("export bits per byte", "bfloat16"): Bounds(1e-2, 0.0, "as in float32, with a few percent for each token"),
    ("export bits per byte", "q8_0"): Bounds(1e-2, 0.0, "as in float32, with a few percent for each token"),
    ("likeliest token", "float32"): Bounds(
        0.0, 5e-6, "relative to the largest score, as the errors of scores: closer scores count as equal"
    ),
}


def kernel_bounds(operation: str, dtype: str, plain: ArrayLike, expected: ArrayLike) -> Bounds:
    """What a kernel is allowed: the table's entry in float32, and in a 16-bit type twice what the plain path needs.

    Args:
        plain: the plain path's result in the same type.
        expected: the float64 reference, of the same shape.
    """
    if dtype == "float32":
        return bounds(operation, dtype)
    exact, other = np.asarray(expected, dtype=np.float64), np.asarray(plain, dtype=np.float64)
    finite = np.isfinite(exact)
    rounding = {"float16": _FLOAT16, "bfloat16": _BFLOAT16}[dtype] * float(np.abs(exact[finite]).max(initial=0.0))
    error = float(np.abs(other[finite] - exact[finite]).max(initial=0.0))
    # Where zeros are expected, float32's own rounding is left.
    floor = bounds(operation, "float32").absolute
    return Bounds(0.0, max(2 * error, rounding, floor), "twice the plain path's own error, at least one rounding")


def bounds(operation: str, dtype: str) -> Bounds:
    """The entry of the table for an operation in a type, such as ("attention", "float32").

    Raises:
        KeyError: no such entry.
    """
    return TABLE[operation, dtype]
